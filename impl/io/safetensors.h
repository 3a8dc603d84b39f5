// The safetensors format: an 8-byte little-endian header length, a JSON header that names each
// tensor with its dtype, shape and range of bytes, then the data without holes.
//
// Not supported: more than 8 dimensions, and the element types that Millrace has no number for (F4,
// F6, F8_E8M0).
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "io/file.h"
#include "millrace/types.h"

namespace mill {

// The reference implementation's limit.
constexpr uint64_t kMaxSafetensorsHeader = 100'000'000;

struct SafetensorsEntry {
  std::string name;
  int32_t dtype = MILL_DTYPE_NONE;
  uint32_t rank = 0;
  int64_t dims[MILL_MAX_RANK] = {};
  uint64_t offset = 0;  // from the first byte of data
  uint64_t bytes = 0;
};

// An open file whose header has been checked in full: names differ, every range is inside the file,
// ranges neither overlap nor leave holes, and each range's length is what dtype and shape say.
// Immutable: any thread may read.
class SafetensorsFile {
 public:
  explicit SafetensorsFile(const std::string& path);

  uint64_t count() const { return entries_.size(); }
  const SafetensorsEntry& entry(uint64_t index) const {
    return entries_[index];
  }  // in the header's order
  // The index of a name, -1 if there is none.
  int64_t find(std::string_view name) const;
  // All of a tensor's data, row-major. `bytes` is entry(index).bytes.
  void read(uint64_t index, void* to, uint64_t bytes) const;
  // Bytes [offset, offset + bytes) of a tensor's data, for those who copy in pieces.
  void read_part(uint64_t index, uint64_t offset, void* to, uint64_t bytes) const;

  uint64_t metadata_count() const { return metadata_.size(); }
  const std::pair<std::string, std::string>& metadata(uint64_t index) const {
    return metadata_[index];
  }
  const std::string* find_metadata(std::string_view key) const;  // NULL if there is none

 private:
  void parse(std::string_view header);
  void check_names();
  void check_ranges(uint64_t data_bytes) const;

  InputFile file_;
  uint64_t data_start_ = 0;
  std::vector<SafetensorsEntry> entries_;
  std::vector<uint32_t>
      by_name_;  // a sorted index and not a hash table, which hostile names could make quadratic
  std::vector<std::pair<std::string, std::string>> metadata_;
};

// Collects tensors and writes them in the order in which they were added; the same calls give the
// same bytes. A tensor's data are borrowed, or supplied in pieces while write() runs, so nothing is
// held twice.
class SafetensorsWriter {
 public:
  // Puts bytes [offset, offset + bytes) of the tensor's row-major data at `to`. Called with
  // ascending offsets, by write() only. What it throws leaves write() unchanged.
  using Source = std::function<void(uint64_t offset, void* to, uint64_t bytes)>;

  void add(std::string_view name, int32_t dtype, uint32_t rank, const int64_t* dims,
           const void* data);
  void add(std::string_view name, int32_t dtype, uint32_t rank, const int64_t* dims, Source source);
  void metadata(std::string_view key, std::string_view value);
  // Replaces the file at `path` whole or not at all.
  void write(const std::string& path) const;

 private:
  struct Item {
    SafetensorsEntry entry;
    const void* data;
    Source source;
  };
  void append(std::string_view name, int32_t dtype, uint32_t rank, const int64_t* dims,
              const void* data, Source source);
  void check_duplicates() const;
  std::string header() const;

  std::vector<Item> items_;
  std::vector<std::pair<std::string, std::string>> metadata_;
  uint64_t total_ = 0;
};

}  // namespace mill
