#include <algorithm>
#include <string>

#include "base/dtype.h"
#include "base/error.h"
#include "base/utf8.h"
#include "io/bytes.h"
#include "io/json.h"
#include "io/safetensors.h"
#include "io/safetensors_names.h"

namespace mill {

namespace {

using ull = unsigned long long;

constexpr uint64_t kChunkBytes = 1 << 20;

void check_text(std::string_view text, const char* what) {
  const size_t nul = text.find('\0');
  if (nul != std::string_view::npos) {
    fail(MILL_E_ARG, "%s \"%s\" has a NUL at byte %zu of %zu", what, Shown(text).text(), nul,
         text.size());
  }
  need_utf8(text, -1, what);
}

std::string_view name_of(int32_t dtype) {
  for (const SafetensorsName& known : kSafetensorsNames) {
    if (known.dtype == dtype) return known.name;
  }
  return {};
}

void check_distinct(std::vector<std::string_view>& names, const char* what) {
  std::sort(names.begin(), names.end());
  const auto twice = std::adjacent_find(names.begin(), names.end());
  if (twice != names.end()) {
    fail(MILL_E_ARG, "%s \"%s\" was given twice", what, Shown(*twice).text());
  }
}

}  // namespace

void SafetensorsWriter::add(std::string_view name, int32_t dtype, uint32_t rank,
                            const int64_t* dims, const void* data) {
  append(name, dtype, rank, dims, data, nullptr);
}

void SafetensorsWriter::add(std::string_view name, int32_t dtype, uint32_t rank,
                            const int64_t* dims, Source source) {
  append(name, dtype, rank, dims, nullptr, std::move(source));
}

void SafetensorsWriter::append(std::string_view name, int32_t dtype, uint32_t rank,
                               const int64_t* dims, const void* data, Source source) {
  check_text(name, "tensor name");
  if (name == kSafetensorsMetadata) {
    fail(MILL_E_ARG, "tensor name \"__metadata__\" is reserved by the format");
  }
  if (name_of(dtype).empty()) {
    fail(MILL_E_DTYPE, "tensor \"%s\": the format has no name for dtype %s", Shown(name).text(),
         dtype_name(dtype));
  }
  if (rank > MILL_MAX_RANK) {
    fail(MILL_E_SHAPE, "tensor \"%s\": rank %u exceeds the limit of %d", Shown(name).text(), rank,
         MILL_MAX_RANK);
  }
  SafetensorsEntry entry;
  uint64_t end = 0;
  if (!dense_bytes(dtype, rank, dims, &entry.bytes) ||
      __builtin_add_overflow(total_, entry.bytes, &end) || end > static_cast<uint64_t>(INT64_MAX)) {
    fail(MILL_E_SHAPE,
         "tensor \"%s\": shape %s after %llu bytes of other tensors is negative or too large",
         Shown(name).text(), ShownDims(rank, dims).text(), static_cast<ull>(total_));
  }
  if (entry.bytes != 0 && data == nullptr && !source) {
    fail(MILL_E_ARG, "tensor \"%s\" of %llu bytes has no data", Shown(name).text(),
         static_cast<ull>(entry.bytes));
  }
  entry.name = name;
  entry.dtype = dtype;
  entry.rank = rank;
  std::copy_n(dims, rank, entry.dims);
  entry.offset = total_;
  items_.push_back({std::move(entry), data, std::move(source)});
  total_ = end;
}

void SafetensorsWriter::metadata(std::string_view key, std::string_view value) {
  check_text(key, "metadata key");
  check_text(value, "metadata value");
  metadata_.emplace_back(key, value);
}

void SafetensorsWriter::check_duplicates() const {
  std::vector<std::string_view> names;
  names.reserve(std::max(items_.size(), metadata_.size()));
  for (const Item& item : items_) names.push_back(item.entry.name);
  check_distinct(names, "tensor name");
  names.clear();
  for (const auto& item : metadata_) names.push_back(item.first);
  check_distinct(names, "metadata key");
}

std::string SafetensorsWriter::header() const {
  std::string text = "{";
  if (!metadata_.empty()) {
    append_json_string(text, kSafetensorsMetadata);
    text += ":{";
    for (size_t i = 0; i < metadata_.size(); ++i) {
      if (i != 0) text += ',';
      append_json_string(text, metadata_[i].first);
      text += ':';
      append_json_string(text, metadata_[i].second);
    }
    text += '}';
  }
  for (const Item& item : items_) {
    const SafetensorsEntry& entry = item.entry;
    if (text.size() > 1) text += ',';
    append_json_string(text, entry.name);
    text += ":{\"dtype\":\"";
    text += name_of(entry.dtype);
    text += "\",\"shape\":";
    text += ShownDims(entry.rank, entry.dims).text();
    text += ",\"data_offsets\":[" + std::to_string(entry.offset) + ',' +
            std::to_string(entry.offset + entry.bytes) + "]}";
  }
  text += '}';
  // Data then begin at a multiple of 8 bytes, the widest element the format knows.
  text.resize((text.size() + 7) / 8 * 8, ' ');
  if (text.size() > kMaxSafetensorsHeader) {
    fail(MILL_E_ARG,
         "names, shapes and metadata make a header of %zu bytes, the format's limit is %llu",
         text.size(), static_cast<ull>(kMaxSafetensorsHeader));
  }
  return text;
}

void SafetensorsWriter::write(const std::string& path) const {
  check_duplicates();
  const std::string text = header();
  const uint64_t length = text.size();
  std::vector<char> chunk;
  AtomicFile file(path);
  file.write(&length, sizeof length);
  file.write(text.data(), length);
  for (const Item& item : items_) {
    const uint64_t bytes = item.entry.bytes;
    if (item.data != nullptr) {
      file.write(item.data, bytes);
      continue;
    }
    if (bytes != 0 && chunk.empty()) chunk.resize(kChunkBytes);
    for (uint64_t done = 0; done < bytes; done += chunk.size()) {
      const uint64_t part = std::min<uint64_t>(bytes - done, chunk.size());
      item.source(done, chunk.data(), part);
      file.write(chunk.data(), part);
    }
  }
  file.commit();
}

}  // namespace mill
