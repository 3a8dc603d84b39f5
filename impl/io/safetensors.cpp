#include "io/safetensors.h"

#include <algorithm>
#include <cstring>
#include <numeric>

#include "base/dtype.h"
#include "base/error.h"
#include "io/bytes.h"
#include "io/json.h"
#include "io/safetensors_names.h"

namespace mill {

namespace {

using ull = unsigned long long;
using MetadataList = std::vector<std::pair<std::string, std::string>>;

void parse_metadata(const std::string& path, JsonCursor& cursor, MetadataList& metadata) {
  cursor.expect('{');
  if (!cursor.take('}')) {
    do {
      auto& [key, value] = metadata.emplace_back();
      cursor.string(key);
      cursor.expect(':');
      cursor.string(value);
    } while (cursor.take(','));
    cursor.expect('}');
  }
  std::vector<std::string_view> keys;
  keys.reserve(metadata.size());
  for (const auto& item : metadata) keys.push_back(item.first);
  std::sort(keys.begin(), keys.end());
  const auto twice = std::adjacent_find(keys.begin(), keys.end());
  if (twice != keys.end()) {
    fail(MILL_E_FORMAT, "%s: metadata key \"%s\" appears twice", shown(path).text(),
         Shown(*twice).text());
  }
}

// Parses one tensor's {"dtype": ..., "shape": ..., "data_offsets": ...}, whose fields come in any
// order.
class EntryParser {
 public:
  EntryParser(const std::string& path, JsonCursor& cursor, SafetensorsEntry& entry)
      : path_(path), cursor_(cursor), entry_(entry) {}

  void run() {
    cursor_.expect('{');
    std::string field;
    do {
      cursor_.string(field);
      cursor_.expect(':');
      if (field == "dtype") {
        once(dtype_seen_, "dtype");
        parse_dtype();
      } else if (field == "shape") {
        once(shape_seen_, "shape");
        parse_shape();
      } else if (field == "data_offsets") {
        once(offsets_seen_, "data_offsets");
        parse_offsets();
      } else {
        fail(MILL_E_FORMAT,
             "%s: tensor \"%s\" has a field \"%s\", the format has dtype, shape and data_offsets",
             file(), name(), Shown(field).text());
      }
    } while (cursor_.take(','));
    cursor_.expect('}');
    const char* missing = !dtype_seen_     ? "dtype"
                          : !shape_seen_   ? "shape"
                          : !offsets_seen_ ? "data_offsets"
                                           : nullptr;
    if (missing != nullptr) {
      fail(MILL_E_FORMAT, "%s: tensor \"%s\" has no field \"%s\"", file(), name(), missing);
    }
    check_size();
  }

 private:
  // Each text lives until the next call.
  const char* file() { return (file_text_ = Shown(path_, Shown::Keep::end)).text(); }
  const char* name() { return (name_text_ = Shown(entry_.name)).text(); }

  void once(bool& seen, const char* field) {
    if (seen) {
      fail(MILL_E_FORMAT, "%s: tensor \"%s\" has the field \"%s\" twice", file(), name(), field);
    }
    seen = true;
  }

  void parse_dtype() {
    std::string text;
    cursor_.string(text);
    for (const SafetensorsName& known : kSafetensorsNames) {
      if (known.name == text) entry_.dtype = known.dtype;
    }
    if (entry_.dtype == MILL_DTYPE_NONE) {
      fail(MILL_E_FORMAT, "%s: tensor \"%s\" has the unknown dtype \"%s\"", file(), name(),
           Shown(text).text());
    }
  }

  void parse_shape() {
    cursor_.expect('[');
    if (cursor_.take(']')) return;
    do {
      const int64_t size = cursor_.number();
      if (entry_.rank == MILL_MAX_RANK) {
        fail(MILL_E_FORMAT, "%s: tensor \"%s\" has more than %d dimensions", file(), name(),
             MILL_MAX_RANK);
      }
      entry_.dims[entry_.rank++] = size;
    } while (cursor_.take(','));
    cursor_.expect(']');
  }

  void parse_offsets() {
    cursor_.expect('[');
    const auto begin = static_cast<uint64_t>(cursor_.number());
    cursor_.expect(',');
    const auto end = static_cast<uint64_t>(cursor_.number());
    cursor_.expect(']');
    if (end < begin) {
      fail(MILL_E_FORMAT,
           "%s: tensor \"%s\" ends at byte %llu of the data, before its beginning at %llu", file(),
           name(), static_cast<ull>(end), static_cast<ull>(begin));
    }
    entry_.offset = begin;
    entry_.bytes = end - begin;
  }

  void check_size() {
    const ShownDims dims(entry_.rank, entry_.dims);
    uint64_t bytes = 0;
    if (!dense_bytes(entry_.dtype, entry_.rank, entry_.dims, &bytes)) {
      fail(MILL_E_FORMAT, "%s: tensor \"%s\": the bytes of shape %s exceed the limit of %lld",
           file(), name(), dims.text(), static_cast<long long>(INT64_MAX));
    }
    if (bytes != entry_.bytes) {
      fail(MILL_E_FORMAT,
           "%s: tensor \"%s\": %s of shape %s has %llu bytes, its data_offsets hold %llu", file(),
           name(), dtype_name(entry_.dtype), dims.text(), static_cast<ull>(bytes),
           static_cast<ull>(entry_.bytes));
    }
  }

  const std::string& path_;
  JsonCursor& cursor_;
  SafetensorsEntry& entry_;
  Shown file_text_{""};
  Shown name_text_{""};
  bool dtype_seen_ = false;
  bool shape_seen_ = false;
  bool offsets_seen_ = false;
};

}  // namespace

SafetensorsFile::SafetensorsFile(const std::string& path) : file_(path) {
  constexpr uint64_t kLengthBytes = 8;
  if (file_.size() < kLengthBytes) {
    fail(MILL_E_FORMAT, "%s: holds %llu bytes, a safetensors file begins with a header length of 8",
         shown(path).text(), static_cast<ull>(file_.size()));
  }
  uint8_t length_bytes[kLengthBytes];
  file_.read_at(0, length_bytes, kLengthBytes);
  const uint64_t length = load_le64(length_bytes);
  if (length > kMaxSafetensorsHeader) {
    fail(MILL_E_FORMAT, "%s: the header's length of %llu bytes exceeds the limit of %llu",
         shown(path).text(), static_cast<ull>(length), static_cast<ull>(kMaxSafetensorsHeader));
  }
  if (length > file_.size() - kLengthBytes) {
    fail(MILL_E_FORMAT, "%s: the header's length is %llu bytes, the file holds %llu after it",
         shown(path).text(), static_cast<ull>(length),
         static_cast<ull>(file_.size() - kLengthBytes));
  }
  std::string header(length, 0);
  file_.read_at(kLengthBytes, header.data(), length);
  parse(header);
  check_names();
  data_start_ = kLengthBytes + length;
  check_ranges(file_.size() - data_start_);
}

void SafetensorsFile::parse(std::string_view header) {
  const std::string& path = file_.path();
  // The format's rule; JSON alone would allow white space here.
  if (!header.starts_with('{')) {
    fail(MILL_E_FORMAT, "%s: the header does not begin with '{'", shown(path).text());
  }
  JsonCursor cursor(path, header);
  cursor.expect('{');
  bool metadata_seen = false;
  if (!cursor.take('}')) {
    do {
      std::string name;
      cursor.string(name);
      cursor.expect(':');
      if (name == kSafetensorsMetadata) {
        if (metadata_seen) {
          fail(MILL_E_FORMAT, "%s: \"__metadata__\" appears twice", shown(path).text());
        }
        metadata_seen = true;
        parse_metadata(path, cursor, metadata_);
        continue;
      }
      SafetensorsEntry& entry = entries_.emplace_back();
      entry.name = std::move(name);
      EntryParser(path, cursor, entry).run();
    } while (cursor.take(','));
    cursor.expect('}');
  }
  cursor.expect_end();
}

void SafetensorsFile::check_names() {
  by_name_.resize(entries_.size());
  std::iota(by_name_.begin(), by_name_.end(), 0u);
  std::sort(by_name_.begin(), by_name_.end(),
            [this](uint32_t a, uint32_t b) { return entries_[a].name < entries_[b].name; });
  const auto twice = std::adjacent_find(
      by_name_.begin(), by_name_.end(),
      [this](uint32_t a, uint32_t b) { return entries_[a].name == entries_[b].name; });
  if (twice != by_name_.end()) {
    fail(MILL_E_FORMAT, "%s: tensor \"%s\" appears twice", shown(file_.path()).text(),
         Shown(entries_[*twice].name).text());
  }
}

void SafetensorsFile::check_ranges(uint64_t data_bytes) const {
  std::vector<const SafetensorsEntry*> sorted;
  sorted.reserve(entries_.size());
  for (const SafetensorsEntry& entry : entries_) sorted.push_back(&entry);
  std::sort(sorted.begin(), sorted.end(), [](const SafetensorsEntry* a, const SafetensorsEntry* b) {
    return a->offset != b->offset ? a->offset < b->offset : a->bytes < b->bytes;
  });
  const Shown path = shown(file_.path());
  uint64_t end = 0;
  for (const SafetensorsEntry* entry : sorted) {
    if (entry->offset != end) {
      fail(MILL_E_FORMAT,
           "%s: tensor \"%s\" begins at byte %llu of the data, the tensors before it end at %llu",
           path.text(), Shown(entry->name).text(), static_cast<ull>(entry->offset),
           static_cast<ull>(end));
    }
    // Neither sum overflows: both terms are at most INT64_MAX.
    end += entry->bytes;
    if (end > data_bytes) {
      fail(MILL_E_FORMAT, "%s: tensor \"%s\" ends at byte %llu of the data, the file holds %llu",
           path.text(), Shown(entry->name).text(), static_cast<ull>(end),
           static_cast<ull>(data_bytes));
    }
  }
  if (end != data_bytes) {
    fail(MILL_E_FORMAT, "%s: the tensors end at byte %llu of the data, the file holds %llu",
         path.text(), static_cast<ull>(end), static_cast<ull>(data_bytes));
  }
}

int64_t SafetensorsFile::find(std::string_view name) const {
  const auto found =
      std::lower_bound(by_name_.begin(), by_name_.end(), name,
                       [this](uint32_t i, std::string_view key) { return entries_[i].name < key; });
  return found != by_name_.end() && entries_[*found].name == name ? int64_t{*found} : -1;
}

const std::string* SafetensorsFile::find_metadata(std::string_view key) const {
  for (const auto& item : metadata_) {
    if (item.first == key) return &item.second;
  }
  return nullptr;
}

void SafetensorsFile::read(uint64_t index, void* to, uint64_t bytes) const {
  const SafetensorsEntry& entry = entries_[index];
  if (bytes != entry.bytes) {
    fail(MILL_E_ARG, "%s: the destination of tensor \"%s\" has %llu bytes, its data have %llu",
         shown(file_.path()).text(), Shown(entry.name).text(), static_cast<ull>(bytes),
         static_cast<ull>(entry.bytes));
  }
  read_part(index, 0, to, bytes);
}

void SafetensorsFile::read_part(uint64_t index, uint64_t offset, void* to, uint64_t bytes) const {
  const SafetensorsEntry& entry = entries_[index];
  if (offset > entry.bytes || bytes > entry.bytes - offset) {
    fail(MILL_E_ARG, "%s: %llu bytes from byte %llu of tensor \"%s\" leave its %llu bytes",
         shown(file_.path()).text(), static_cast<ull>(bytes), static_cast<ull>(offset),
         Shown(entry.name).text(), static_cast<ull>(entry.bytes));
  }
  file_.read_at(data_start_ + entry.offset + offset, to, bytes);
  if (entry.dtype != MILL_BOOL) return;
  // Code that branches on a bool may read a byte beyond 1 as neither true nor false.
  auto* values = static_cast<uint8_t*>(to);
  std::transform(values, values + bytes, values,
                 [](uint8_t value) { return static_cast<uint8_t>(value != 0); });
}

}  // namespace mill
