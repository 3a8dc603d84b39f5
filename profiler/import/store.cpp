#include "profiler/import/store.h"

#include <algorithm>
#include <functional>
#include <utility>

#include "profiler/import/text.h"

namespace mill::prof {

namespace {

constexpr uint64_t kTextIds = uint64_t{1} << 63;
// Of an entry of the lists and of the maps beside them, about.
constexpr uint64_t kEntryBytes = 160;

constexpr PairKey kNowhere = {UINT64_MAX, UINT64_MAX - 1};

bool says_default(std::string_view name) {
  constexpr std::string_view wanted = "default";
  return std::search(name.begin(), name.end(), wanted.begin(), wanted.end(), [](char a, char b) {
           return (a >= 'A' && a <= 'Z' ? a + 32 : a) == b;
         }) != name.end();
}

}  // namespace

std::string_view Store::clean(std::string_view text) {
  return clean_text(text, &space_);
}

uint32_t Store::string(std::string_view text) {
  return text.empty() ? 0 : trace_.strings.intern(clean(text));
}

uint64_t Store::id(std::string_view text) {
  if (text.empty()) return 0;
  if ((text[0] >= '0' && text[0] <= '9') || text[0] == '-') {
    if (const auto number = read_unsigned(text)) return *number;
  }
  std::string key(text);
  if (const auto at = ids_.find(key); at != ids_.end()) return at->second;
  // Full: still a number, which two texts share once in a very long while.
  if (!take(kEntryBytes + text.size())) return kTextIds | std::hash<std::string>()(key);
  const auto at = ids_.emplace(std::move(key), kTextIds + ids_.size()).first;
  id_texts_.push_back(&at->first);
  return at->second;
}

uint32_t Store::device(uint64_t number) {
  const auto [at, added] =
      devices_.try_emplace(number, static_cast<uint32_t>(trace_.devices.size()));
  if (added) {
    take(kEntryBytes + sizeof(DeviceInfo));
    trace_.devices.emplace_back().number = number;
  }
  return at->second;
}

uint32_t Store::thread(uint64_t process, uint64_t number) {
  const PairKey key{process, number};
  if (last_thread_index_ != kNoRow && key == last_thread_) return last_thread_index_;
  const auto [at, added] = threads_.try_emplace(key, static_cast<uint32_t>(trace_.threads.size()));
  if (added) {
    take(kEntryBytes);
    trace_.threads.push_back({process, number, {}});
  }
  last_thread_ = key;
  last_thread_index_ = at->second;
  return at->second;
}

uint32_t Store::stream(uint32_t device, uint64_t number) {
  const auto [at, added] =
      streams_.try_emplace({device, number}, static_cast<uint32_t>(trace_.streams.size()));
  if (added) {
    take(kEntryBytes);
    trace_.streams.push_back({device, number, {}, number == 0});
    stream_numbers_.try_emplace(number, at->second);
  }
  return at->second;
}

uint32_t Store::find_thread(uint64_t process, uint64_t number) const {
  const auto at = threads_.find({process, number});
  return at == threads_.end() ? kNoRow : at->second;
}

uint32_t Store::find_stream(uint32_t device, uint64_t number) const {
  const auto at = streams_.find({device, number});
  return at == streams_.end() ? kNoRow : at->second;
}

uint32_t Store::find_stream(uint64_t number) const {
  const auto at = stream_numbers_.find(number);
  return at == stream_numbers_.end() ? kNoRow : at->second;
}

void Store::index_lists() {
  for (uint32_t k = 0; k < trace_.devices.size(); ++k)
    devices_.try_emplace(trace_.devices[k].number, k);
  for (uint32_t k = 0; k < trace_.threads.size(); ++k)
    threads_.try_emplace({trace_.threads[k].process, trace_.threads[k].number}, k);
  for (uint32_t k = 0; k < trace_.streams.size(); ++k) {
    streams_.try_emplace({trace_.streams[k].device, trace_.streams[k].number}, k);
    stream_numbers_.try_emplace(trace_.streams[k].number, k);
  }
  take(kEntryBytes * (trace_.devices.size() + trace_.threads.size() + trace_.streams.size()));
}

void Store::draw(uint32_t stream, PairKey track) {
  if (stream >= drawn_.size()) drawn_.resize(size_t{stream} + 1, kNowhere);
  if (drawn_[stream] == kNowhere) drawn_[stream] = track;
}

void Store::name_track(PairKey track, std::string_view name) {
  if (!take(kEntryBytes + name.size())) return;
  track_names_[track] = clean(name);
}

void Store::name_all() {
  const auto name_of = [&](PairKey track) {
    const auto at = track_names_.find(track);
    std::string name = at == track_names_.end() ? std::string() : at->second;
    while (!name.empty() && name.back() == ' ') name.pop_back();
    return name;
  };
  for (ThreadInfo& thread : trace_.threads) {
    if (thread.name.empty()) thread.name = name_of({thread.process, thread.number});
    if (thread.name.empty() && thread.number >= kTextIds &&
        thread.number - kTextIds < id_texts_.size())
      thread.name = clean(*id_texts_[thread.number - kTextIds]);
  }
  for (uint32_t k = 0; k < trace_.streams.size(); ++k) {
    StreamInfo& stream = trace_.streams[k];
    if (stream.name.empty() && k < drawn_.size() && !(drawn_[k] == kNowhere))
      stream.name = name_of(drawn_[k]);
    if (says_default(stream.name)) stream.legacy_default = true;
  }
}

}  // namespace mill::prof
