// The trace under construction: rows within the memory that they may take, and quick ways from the
// numbers of a file to indices.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "profiler/timeline/trace.h"

namespace mill::prof {

struct PairKey {
  uint64_t first = 0;
  uint64_t second = 0;
  friend bool operator==(const PairKey&, const PairKey&) = default;
};
struct PairHash {
  size_t operator()(const PairKey& key) const {
    // An odd constant from the golden ratio spreads consecutive numbers.
    uint64_t mixed = (key.first * 0x9e3779b97f4a7c15u) ^ key.second;
    mixed *= 0x9e3779b97f4a7c15u;
    return static_cast<size_t>(mixed ^ (mixed >> 32));
  }
};

class Store {
 public:
  Store(uint64_t bytes, Trace& trace) : trace_(trace), limit_(bytes) {}

  Trace& trace() { return trace_; }
  uint64_t lost() const { return lost_; }

  // A new row; kNoRow where there is no room for it, which counts as a loss.
  template <class T>
  uint32_t add(T& table) {
    if (!take(T::row_bytes()) || table.size() >= kNoRow - 1) {
      ++lost_;
      return kNoRow;
    }
    return table.add();
  }
  // Room for something beside the rows.
  bool take(uint64_t bytes) {
    if (used_ + trace_.strings.bytes() + bytes > limit_) return false;
    used_ += bytes;
    return true;
  }

  uint32_t string(std::string_view text);
  // The number of a process, a thread or a flow, which may be text: such get numbers from 2^63 on.
  uint64_t id(std::string_view text);
  uint32_t device(uint64_t number);
  uint32_t thread(uint64_t process, uint64_t number);
  uint32_t stream(uint32_t device, uint64_t number);
  // kNoRow: not there yet.
  uint32_t find_thread(uint64_t process, uint64_t number) const;
  uint32_t find_stream(uint32_t device, uint64_t number) const;
  uint32_t find_stream(uint64_t number) const;

  // The trace's lists were filled from elsewhere.
  void index_lists();

  // The track on which a stream's work was drawn: threads have names, streams only through it.
  void draw(uint32_t stream, PairKey track);
  void name_track(PairKey track, std::string_view name);
  // Gives threads and streams the names of their tracks.
  void name_all();

 private:
  std::string_view clean(std::string_view text);

  Trace& trace_;
  uint64_t limit_;
  uint64_t used_ = 0;
  uint64_t lost_ = 0;
  std::string space_;
  std::unordered_map<std::string, uint64_t> ids_;
  std::vector<const std::string*> id_texts_;
  std::unordered_map<uint64_t, uint32_t> devices_;
  std::unordered_map<PairKey, uint32_t, PairHash> threads_;
  std::unordered_map<PairKey, uint32_t, PairHash> streams_;
  std::unordered_map<uint64_t, uint32_t> stream_numbers_;
  std::unordered_map<PairKey, std::string, PairHash> track_names_;
  std::vector<PairKey> drawn_;  // by stream
  PairKey last_thread_;
  uint32_t last_thread_index_ = kNoRow;
};

}  // namespace mill::prof
