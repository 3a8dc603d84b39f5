// Texts that rows refer to by number.
#pragma once

#include <cstdint>
#include <deque>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace mill::prof {

// Ids count from 0 in order of first use; 0 is "". Texts stay where they are while the table lives.
// Not thread safe.
class Strings {
 public:
  Strings() { intern({}); }
  Strings(const Strings& other) { *this = other; }
  Strings& operator=(const Strings& other);
  Strings(Strings&&) = default;
  Strings& operator=(Strings&&) = default;
  ~Strings() = default;

  uint32_t intern(std::string_view text);
  // UINT32_MAX when it was never interned.
  uint32_t find(std::string_view text) const;
  // "" for an id that does not exist. NUL-terminated.
  std::string_view text(uint32_t id) const {
    return id < texts_.size() ? std::string_view(texts_[id]) : std::string_view();
  }
  uint32_t size() const { return static_cast<uint32_t>(texts_.size()); }
  uint64_t bytes() const { return bytes_; }

 private:
  std::deque<std::string> texts_;  // does not move what it holds
  std::unordered_map<std::string_view, uint32_t> ids_;
  uint64_t bytes_ = 0;
};

}  // namespace mill::prof
