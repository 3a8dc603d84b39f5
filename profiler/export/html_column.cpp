#include "profiler/export/html_column.h"

#include <zlib.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <new>

namespace mill::prof::html {

namespace {

static_assert(std::endian::native == std::endian::little, "the page reads little-endian words");

void append_varint(std::string& out, uint64_t value) {
  while (value >= 0x80) {
    out += static_cast<char>(value | 0x80);
    value >>= 7;
  }
  out += static_cast<char>(value);
}

uint64_t zigzag(int64_t value) {
  return static_cast<uint64_t>(value) << 1 ^ static_cast<uint64_t>(value >> 63);
}

template <class T>
bool all_equal(std::span<const T> values) {
  return std::adjacent_find(values.begin(), values.end(), std::not_equal_to<>()) == values.end();
}

template <class T>
Column pack_raw(std::string_view name, Unit unit, std::span<const T> values, Encoding encoding) {
  Column column{std::string(name), unit, Encoding::constant, false, 0, {}, {}};
  // JSON has no number for what is none.
  const bool number = values.empty() || std::isfinite(static_cast<double>(values.front()));
  if (all_equal(values) && number && encoding != Encoding::words) {
    column.constant = values.empty() ? 0 : static_cast<double>(values.front());
    return column;
  }
  std::string bytes(values.size_bytes(), '\0');
  if (!values.empty()) std::memcpy(bytes.data(), values.data(), values.size_bytes());
  column.encoding = encoding;
  column.packed = deflate(bytes);
  return column;
}

}  // namespace

std::string deflate(std::string_view bytes) {
  z_stream stream{};
  if (deflateInit(&stream, 5) != Z_OK) throw std::bad_alloc();
  std::string out;
  std::string buffer(size_t{1} << 18, '\0');
  size_t taken = 0;
  int state = Z_OK;
  while (state != Z_STREAM_END) {
    if (stream.avail_in == 0) {
      const size_t part = std::min(bytes.size() - taken, size_t{1} << 30);
      // zlib does not write to its input.
      stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(bytes.data() + taken));
      stream.avail_in = static_cast<uInt>(part);
      taken += part;
    }
    stream.next_out = reinterpret_cast<Bytef*>(buffer.data());
    stream.avail_out = static_cast<uInt>(buffer.size());
    state = ::deflate(&stream, taken == bytes.size() ? Z_FINISH : Z_NO_FLUSH);
    out.append(buffer.data(), buffer.size() - stream.avail_out);
  }
  deflateEnd(&stream);
  return out;
}

Column pack_integers(std::string_view name, Unit unit, std::span<const int64_t> values,
                     bool ascending) {
  // A double holds every integer up to 2^53, and the zigzag of a difference is up to four times as
  // large as what differs.
  constexpr int64_t kExact = int64_t{1} << 51;
  if (std::any_of(values.begin(), values.end(),
                  [](int64_t v) { return v > kExact || v < -kExact; })) {
    const std::vector<uint64_t> words(values.begin(), values.end());
    return pack_words(name, unit, words);
  }
  Column column{std::string(name), unit, Encoding::constant, false, 0, {}, {}};
  if (all_equal(values)) {
    column.constant = values.empty() ? 0 : static_cast<double>(values.front());
    return column;
  }
  const bool negative = std::any_of(values.begin(), values.end(), [](int64_t v) { return v < -1; });
  column.encoding = ascending || negative ? Encoding::differences : Encoding::plain;
  std::string bytes;
  bytes.reserve(values.size() * 2);
  int64_t before = 0;
  for (const int64_t value : values) {
    if (column.encoding == Encoding::differences) {
      append_varint(bytes, zigzag(value - before));
      before = value;
    } else {
      append_varint(bytes, static_cast<uint64_t>(value + 1));
    }
  }
  column.packed = deflate(bytes);
  return column;
}

Column pack_words(std::string_view name, Unit unit, std::span<const uint64_t> values) {
  return pack_raw(name, unit, values, Encoding::words);
}
Column pack_floats(std::string_view name, Unit unit, std::span<const float> values) {
  return pack_raw(name, unit, values, Encoding::floats);
}
Column pack_doubles(std::string_view name, Unit unit, std::span<const double> values) {
  return pack_raw(name, unit, values, Encoding::doubles);
}

Column pack_texts(std::string_view name, const std::vector<std::string>& texts) {
  Json json;
  json.begin_array();
  for (const std::string& text : texts) json.text(text);
  json.end_array();
  Column column{std::string(name), Unit::string, Encoding::text, true, 0, {}, {}};
  column.packed = deflate(json.str());
  return column;
}

void write_column(Json& json, const Column& column, uint32_t id) {
  const char encoding = static_cast<char>(column.encoding);
  json.begin_object();
  json.text("name", column.name);
  json.count("unit", static_cast<uint64_t>(column.unit));
  json.text("encoding", std::string_view(&encoding, 1));
  json.flag("core", column.core);
  if (column.encoding == Encoding::constant) {
    json.number("constant", column.constant);
  } else {
    json.count("id", id);
  }
  if (!column.relation.empty()) json.text("relation", column.relation);
  json.end_object();
}

}  // namespace mill::prof::html
