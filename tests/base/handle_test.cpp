#include "base/handle.h"

#include <gtest/gtest.h>

#include <atomic>
#include <cstring>
#include <thread>
#include <vector>

#include "base/ref.h"
#include "base/sanitize.h"

namespace mill {
namespace {

struct Probe : Handle {
  static constexpr HandleKind kKind = HandleKind::future;
  explicit Probe(int* destroyed = nullptr, int v = 0) : destroyed_count(destroyed), value(v) {
    valid_in_constructor = valid(this, kKind);
  }
  ~Probe() {
    if (destroyed_count) ++*destroyed_count;
  }
  int* destroyed_count;
  int value;
  bool valid_in_constructor;
};

void retain(Probe* p) {
  p->retain();
}
void release(Probe* p) {
  if (p->release()) slab_delete(p);
}

TEST(HandleTest, IsValidOnlyAsItsOwnKindAndOnlyWhileItLives) {
  Probe* p = slab_new<Probe>();
  EXPECT_FALSE(p->valid_in_constructor);
  EXPECT_TRUE(valid(p, HandleKind::future));
  EXPECT_FALSE(valid(p, HandleKind::tensor));
  EXPECT_FALSE(valid(p, HandleKind::none));
  slab_delete(p);
  EXPECT_FALSE(valid(p, HandleKind::future));
}

TEST(HandleTest, RefusesNullAndMisalignedPointersWithoutReadingThem) {
  EXPECT_FALSE(valid(nullptr, HandleKind::tensor));
  for (uintptr_t address : {uintptr_t{1}, uintptr_t{8}, uintptr_t{0x1020}, ~uintptr_t{0}}) {
    EXPECT_FALSE(valid(reinterpret_cast<const void*>(address), HandleKind::tensor));
  }
}

TEST(HandleTest, RefusesMemoryThatIsNoHandleAndHandlesOfAnotherCopyOfTheLibrary) {
  struct alignas(64) Image {
    uint32_t refs, kind;
    uint64_t cookie;
    char rest[48];
  };
  Image image{1, static_cast<uint32_t>(HandleKind::tensor), handle_cookie(), {}};
  ASSERT_TRUE(valid(&image, HandleKind::tensor)) << "the image does not mirror Handle";
  image.cookie ^= 0x1000;  // as if the anchor lay elsewhere
  EXPECT_FALSE(valid(&image, HandleKind::tensor));
  std::memset(static_cast<void*>(&image), 0, sizeof image);
  EXPECT_FALSE(valid(&image, HandleKind::none) && valid(&image, HandleKind::tensor));
  EXPECT_FALSE(valid(&image, HandleKind::tensor));
}

TEST(HandleTest, AReleasedHandleStaysRefusedWhileItsSlotWaitsForReuse) {
  std::vector<Probe*> stale;
  for (int i = 0; i < 200; ++i) stale.push_back(slab_new<Probe>());
  for (Probe* p : stale) slab_delete(p);
  for (Probe* p : stale) EXPECT_FALSE(valid(p, HandleKind::future));
}

TEST(HandleTest, CheckedBuildsKeepAReleasedSlotOutOfUseForLonger) {
  Probe* stale = slab_new<Probe>();
  slab_delete(stale);
  bool reused = false;
  for (int i = 0; i < 200; ++i) {
    Probe* p = slab_new<Probe>();
    reused = reused || p == stale;
    slab_delete(p);
  }
  EXPECT_EQ(reused, !kCheckedBuild);
}

TEST(HandleTest, LiveHandlesAreCountedByKind) {
  const int64_t futures = live_handles(HandleKind::future);
  const int64_t events = live_handles(HandleKind::event);
  Probe* p = slab_new<Probe>();
  EXPECT_EQ(live_handles(HandleKind::future), futures + 1);
  EXPECT_EQ(live_handles(HandleKind::event), events);
  std::thread([p] { slab_delete(p); }).join();
  EXPECT_EQ(live_handles(HandleKind::future), futures);
}

TEST(HandleTest, StaleHandlesMayBeCheckedWhileOtherThreadsReuseTheirSlots) {
  std::vector<Probe*> stale;
  for (int i = 0; i < 64; ++i) stale.push_back(slab_new<Probe>());
  for (Probe* p : stale) slab_delete(p);
  std::atomic<bool> stop{false};
  std::thread reuser([&] {
    for (int i = 0; i < 3000; ++i) {
      Probe* p = slab_new<Probe>();
      if (!valid(p, HandleKind::future)) break;
      slab_delete(p);
    }
    stop = true;
  });
  while (!stop) {
    for (Probe* p : stale) EXPECT_FALSE(valid(p, HandleKind::tensor));
  }
  reuser.join();
}

TEST(HandleTest, TheLastOfManyConcurrentReleasesDestroysOnce) {
  int destroyed = 0;
  Probe* p = slab_new<Probe>(&destroyed);
  constexpr int kThreads = 4;
  for (int i = 0; i < kThreads; ++i) retain(p);
  std::vector<std::thread> threads;
  for (int i = 0; i < kThreads; ++i) {
    threads.emplace_back([p] {
      for (int k = 0; k < 1000; ++k) {
        retain(p);
        release(p);
      }
      release(p);
    });
  }
  for (auto& t : threads) t.join();
  EXPECT_EQ(destroyed, 0);
  EXPECT_EQ(p->refs(), 1u);
  release(p);
  EXPECT_EQ(destroyed, 1);
}

TEST(RefTest, CopiesShareMovesTransferAndTheLastOwnerDestroys) {
  int destroyed = 0;
  Ref<Probe> a = Ref<Probe>::adopt(slab_new<Probe>(&destroyed, 7));
  EXPECT_EQ(a->value, 7);
  {
    Ref<Probe> b = a;
    EXPECT_EQ(a->refs(), 2u);
    Ref<Probe> c = std::move(b);
    EXPECT_FALSE(b);
    EXPECT_EQ(a->refs(), 2u);
    EXPECT_TRUE(c == a);
    Ref<Probe>& same = c;
    c = same;
    EXPECT_EQ(a->refs(), 2u);
  }
  EXPECT_EQ(a->refs(), 1u);
  Ref<Probe> shared = Ref<Probe>::share(a.get());
  EXPECT_EQ(a->refs(), 2u);
  Probe* raw = shared.release();
  EXPECT_FALSE(shared);
  EXPECT_EQ(a->refs(), 2u);
  release(raw);
  a.reset();
  EXPECT_EQ(destroyed, 1);
  EXPECT_FALSE(Ref<Probe>::share(nullptr));
}

}  // namespace
}  // namespace mill
