// The allocator against a model that knows every live block: random sequences with one thread.
#include <gtest/gtest.h>

#include <cstring>
#include <map>
#include <memory>
#include <random>
#include <vector>

#include "base/error.h"
#include "fake_source.h"
#include "memory/allocator.h"

namespace mill {
namespace {

constexpr uint64_t kMiB = uint64_t{1} << 20;

class Model {
 public:
  Model(uint64_t seed, bool runs_inline, uint64_t streams)
      : random_(seed),
        source_(runs_inline),
        allocator_(std::make_unique<Allocator>(source_)),
        streams_(streams) {}

  void run(int steps) {
    for (int i = 0; i < steps && !::testing::Test::HasFatalFailure(); ++i) {
      step();
      if (i % 64 == 0) {
        ASSERT_EQ(allocator_->self_check(), "");
        compare();
      }
    }
    while (!live_.empty()) release(live_.begin()->first);
    for (auto& [stream, point] : source_.submitted) source_.completed[stream] = point;
    allocator_->trim();
    ASSERT_EQ(allocator_->self_check(), "");
    ASSERT_EQ(source_.held, 0u) << "memory that nobody uses was not returned";
    allocator_.reset();
    ASSERT_EQ(source_.wrong, "");
    ASSERT_EQ(source_.events, 0);
  }

 private:
  struct Live {
    Block* block;
    uint64_t bytes;
    uint32_t tag;
    unsigned char pattern;
    std::map<uint64_t, uint64_t>
        used;  // stream -> point in its time until which the memory may be touched
  };
  // What was last known of an address range: who may still touch it.
  struct Past {
    uint64_t end;
    std::map<uint64_t, uint64_t> used;
  };

  uint64_t below(uint64_t n) { return random_() % n; }
  uint64_t size() {
    switch (below(8)) {
      case 0: return below(3) == 0 ? 0 : below(64) + 1;
      case 1: return uint64_t{1} << below(21);
      case 2: return (uint64_t{1} << below(21)) + 1;
      case 3: return below(6 * kMiB) + 1;
      case 4: return below(600000) + 1;
      default: return below(32768) + 1;
    }
  }
  uint64_t work(uint64_t stream) { return ++source_.submitted[stream]; }

  void step() {
    const uint64_t kind = below(100);
    if (kind < 45 || live_.empty()) {
      allocate();
    } else if (kind < 85) {
      auto it = live_.begin();
      std::advance(it, static_cast<std::ptrdiff_t>(below(live_.size())));
      release(it->first);
    } else if (kind < 92) {
      use_elsewhere();
    } else if (kind < 97) {
      const uint64_t stream = below(streams_);
      source_.completed[stream] += below(source_.submitted[stream] - source_.completed[stream] + 1);
    } else if (kind < 98) {
      allocator_->trim();
    } else if (kind < 99) {
      source_.capacity = below(2) ? 0 : source_.held + below(8 * kMiB);
    } else {
      allocator_->set_limit(below(2) ? 0 : 24 * kMiB);
    }
  }

  void allocate() {
    const uint64_t bytes = size();
    const uint64_t stream = below(streams_);
    const auto tag = static_cast<uint32_t>(below(8));
    Block* block = nullptr;
    try {
      block = allocator_->allocate(bytes, stream, tag);
    } catch (const Error& e) {
      ASSERT_EQ(e.status(), MILL_E_MEMORY);
      ASSERT_TRUE(source_.capacity != 0 || allocator_->stats().limit != 0)
          << "failed for no reason";
      return;
    }
    ASSERT_EQ(block->bytes, bytes);
    if (bytes == 0) {
      allocator_->free(block);
      return;
    }
    const auto at = reinterpret_cast<uintptr_t>(block->data);
    ASSERT_EQ(at % 64, 0u);
    ASSERT_TRUE(source_.inside(block->data, block->capacity));
    const auto next = live_.lower_bound(at);
    ASSERT_TRUE(next == live_.end() || at + block->capacity <= next->first)
        << "overlaps the next block";
    if (next != live_.begin()) {
      const auto before = std::prev(next);
      ASSERT_LE(before->first + before->second.block->capacity, at) << "overlaps the block before";
    }
    check_past(at, at + block->capacity, stream);
    Live live{block, bytes, tag, static_cast<unsigned char>(random_()), {}};
    std::memset(block->data, live.pattern, bytes);
    live.used[stream] = work(stream);
    live_[at] = live;
  }

  // Every earlier use must be complete, or be on the stream that gets the memory.
  void check_past(uintptr_t begin, uintptr_t end, uint64_t stream) {
    for (const auto& [at, past] : past_) {
      if (at >= end || past.end <= begin) continue;
      for (const auto& [user, point] : past.used) {
        if (user == stream || source_.runs_inline()) continue;
        ASSERT_LE(point, source_.completed[user])
            << "reused before stream " << user << " was done with it";
      }
    }
  }

  void use_elsewhere() {
    auto it = live_.begin();
    std::advance(it, static_cast<std::ptrdiff_t>(below(live_.size())));
    const uint64_t stream = below(streams_);
    allocator_->record_use(it->second.block, stream);
    it->second.used[stream] = work(stream);
  }

  void release(uintptr_t at) {
    Live live = live_[at];
    const auto* data = static_cast<const unsigned char*>(live.block->data);
    for (uint64_t k = 0; k<live.bytes; k += live.bytes> 4096 ? 509 : 1)
      ASSERT_EQ(data[k], live.pattern);
    ASSERT_EQ(data[live.bytes - 1], live.pattern);
    live_.erase(at);
    const uint64_t home = live.block->stream;
    if (!source_.runs_inline() && below(2)) live.used[home] = work(home);
    // Entries that this one covers are superseded only where all their users are done.
    std::erase_if(past_, [this](const auto& entry) {
      for (const auto& [user, point] : entry.second.used) {
        if (point > source_.completed[user]) return false;
      }
      return true;
    });
    past_.insert({at, Past{at + live.block->capacity, live.used}});
    allocator_->free(live.block);
  }

  void compare() {
    const MemoryStats s = allocator_->stats();
    uint64_t in_use = 0;
    uint64_t requested = 0;
    std::vector<uint64_t> tags(kMemoryTags);
    for (const auto& [at, live] : live_) {
      in_use += live.block->capacity;
      requested += live.bytes;
      tags[live.tag] += live.block->capacity;
    }
    ASSERT_EQ(s.in_use, in_use);
    ASSERT_EQ(s.requested, requested);
    ASSERT_EQ(s.allocations - s.frees, live_.size());
    ASSERT_EQ(s.reserved, source_.held);
    ASSERT_EQ(s.source_allocations, source_.allocations);
    ASSERT_EQ(s.source_frees, source_.frees);
    ASSERT_GE(s.in_use_peak, s.in_use);
    for (uint32_t t = 0; t < kMemoryTags; ++t) ASSERT_EQ(s.tags[t], tags[t]);
  }

  std::mt19937_64 random_;
  FakeSource source_;
  std::unique_ptr<Allocator> allocator_;
  uint64_t streams_;
  std::map<uintptr_t, Live> live_;
  std::multimap<uintptr_t, Past> past_;
};

TEST(AllocatorFuzzTest, RandomSequencesOnAnInlineDeviceMatchTheModel) {
  for (uint64_t seed = 1; seed <= 6; ++seed) {
    SCOPED_TRACE(seed);
    Model(seed, true, 3).run(4000);
  }
}

TEST(AllocatorFuzzTest, NoMemoryIsReusedBeforeEveryStreamIsDoneWithIt) {
  for (uint64_t seed = 11; seed <= 18; ++seed) {
    SCOPED_TRACE(seed);
    Model(seed, false, 3).run(3000);
  }
}

}  // namespace
}  // namespace mill
