// Columns as the page reads them: small numbers first made of large ones, then deflated.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "profiler/base/columns.h"
#include "profiler/export/html_text.h"

namespace mill::prof::html {

// How a column is written; report/data.js reads it back.
enum class Encoding : char {
  constant = 'c',     // one value for all rows
  differences = 'v',  // each from the one before, zigzag, as varints
  plain = 'u',        // value + 1 as varints: -1 is "none"
  words = 'q',        // 8 bytes each: what a double cannot hold
  floats = 'f',       // float32
  doubles = 'd',
  text = 'j'  // a JSON array of strings
};

struct Column {
  std::string name;
  Unit unit = Unit::none;
  Encoding encoding = Encoding::constant;
  bool core = false;     // needed to draw; the others are read when somebody asks
  double constant = 0;   // of Encoding::constant
  std::string relation;  // "start": relative to the row's start; a table's name: rows of that table
  std::string packed;    // a zlib stream (RFC 1950); empty for a constant

  uint64_t page_bytes() const { return 80 + base64_size(packed.size()); }
};

// Values that the page shows as "unknown" in a column relative to start.
inline constexpr int64_t kUnknownTime = int64_t{1} << 51;

std::string deflate(std::string_view bytes);
Column pack_integers(std::string_view name, Unit unit, std::span<const int64_t> values,
                     bool ascending);
Column pack_words(std::string_view name, Unit unit, std::span<const uint64_t> values);
Column pack_floats(std::string_view name, Unit unit, std::span<const float> values);
Column pack_doubles(std::string_view name, Unit unit, std::span<const double> values);
Column pack_texts(std::string_view name, const std::vector<std::string>& texts);

void write_column(Json& json, const Column& column, uint32_t id);

}  // namespace mill::prof::html
