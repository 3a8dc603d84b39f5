#include "profiler/base/strings.h"

namespace mill::prof {

Strings& Strings::operator=(const Strings& other) {
  if (this == &other) return *this;
  texts_.clear();
  ids_.clear();
  bytes_ = 0;
  for (const std::string& text : other.texts_) intern(text);
  return *this;
}

uint32_t Strings::intern(std::string_view text) {
  const auto found = ids_.find(text);
  if (found != ids_.end()) return found->second;
  const auto id = static_cast<uint32_t>(texts_.size());
  texts_.emplace_back(text);
  ids_.emplace(texts_.back(), id);
  bytes_ += sizeof(std::string) + text.size() + 32;
  return id;
}

uint32_t Strings::find(std::string_view text) const {
  const auto found = ids_.find(text);
  return found == ids_.end() ? UINT32_MAX : found->second;
}

}  // namespace mill::prof
