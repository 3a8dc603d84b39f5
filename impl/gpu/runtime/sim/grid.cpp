#include "gpu/runtime/sim/grid.h"

#include <bit>
#include <cstdio>
#include <numeric>

#include "gpu/runtime/sim/check/report.h"
#include "gpu/runtime/sim/check/shadow.h"

namespace mill::sim {

namespace {

constexpr uint32_t kFull = 0xffffffffu;
constexpr size_t kArenaBytes = 256 * 1024;
// Behind it, so that a run past the end of a full block's memory stays in the arena.
constexpr size_t kArenaTail = 32 * 1024;

thread_local GridEngine* running_engine __attribute__((tls_model("initial-exec"))) = nullptr;

bool same(const Site& a, const Site& b) {
  return a.line == b.line && (a.file == b.file || std::strcmp(a.file, b.file) == 0);
}

const char* base_name(const char* path) {
  const char* slash = std::strrchr(path, '/');
  return slash ? slash + 1 : path;
}

}  // namespace

GridEngine& GridEngine::here() {
  static thread_local std::unique_ptr<GridEngine> engine;
  if (!engine) engine = std::make_unique<GridEngine>();
  return *engine;
}

GridEngine::GridEngine()
    : stacks_(kMaxLanes + 1),
      fibers_(std::make_unique<Fiber[]>(kMaxLanes)),
      lanes_(std::make_unique<Lane[]>(kMaxLanes)),
      slots_(std::make_unique<WarpSlots[]>(kMaxWarps)),
      arena_(std::make_unique<unsigned char[]>(kArenaBytes + 2 * kSharedGap + 128 + kArenaTail)) {
  for (int k = 0; k < kMaxLanes; ++k) {
    stacks_.give(k, fibers_[static_cast<size_t>(k)]);
    lanes_[static_cast<size_t>(k)].tid = k;
    lanes_[static_cast<size_t>(k)].block = &block_;
  }
  stacks_.give(kMaxLanes, flat_);
}

GridEngine::~GridEngine() {
  for (int k = 0; k < kMaxLanes; ++k) fiber_release(fibers_[static_cast<size_t>(k)]);
  fiber_release(flat_);
  fiber_release(host_);
}

uint64_t GridEngine::random() {
  // SplitMix64 (Steele, Lea and Flood, 2014).
  uint64_t z = (state_ += 0x9e3779b97f4a7c15u);
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  return z ^ (z >> 31);
}

// first + i * step modulo n visits every number below n once.
void GridEngine::set_order(int64_t n, int64_t* first, int64_t* step) {
  *first = 0;
  *step = 1;
  if (seed_ == 0 || n < 2) return;
  *first = static_cast<int64_t>(random() % static_cast<uint64_t>(n));
  do {
    *step = static_cast<int64_t>(1 + random() % static_cast<uint64_t>(n));
  } while (std::gcd(*step, n) != 1);
}

bool GridEngine::run(const KernelInfo& kernel, const GridShape& shape, const GridDevice& device,
                     void* const* args, GridReport* report, const GridCheck* check) {
  kernel_ = &kernel;
  plain_ = &kernel;
  check_ = check;
  watch_ = nullptr;
  args_ = args;
  shape_ = shape;
  report_ = report;
  *report = GridReport{};
  failed_ = false;
  seed_ = device.seed;
  state_ = device.seed;
  const auto at = reinterpret_cast<uintptr_t>(arena_.get()) + kSharedGap;
  auto* arena = reinterpret_cast<unsigned char*>((at + 127) & ~uintptr_t{127});
  block_ = BlockState{};
  block_.grid_dim = shape.grid;
  block_.block_dim = shape.block;
  block_.shared = arena;
  block_.dynamic_bytes = shape.dynamic_bytes;
  block_.shared_limit = device.shared_limit < kArenaBytes ? device.shared_limit : kArenaBytes;
  block_.h_begin = device.h_begin;
  block_.h_bytes = device.h_bytes;
  block_.delta = device.delta;
  block_.slots = slots_.get();
  if (check)
    check->shadow->begin_launch(this, &block_, &running_, kArenaBytes + kSharedGap + kArenaTail);
  GridEngine* const outer = running_engine;
  running_engine = this;
  if (!kernel.cooperative) {
    if (!flat_ready_) fiber_reset(flat_, &GridEngine::flat_main, this);
    flat_ready_ = true;
    fiber_switch(host_, flat_);
    if (failed_) flat_ready_ = false;
  } else {
    warps_ = shape.block / kWarp;
    for (; prepared_ < shape.block; ++prepared_) {
      fiber_reset(fibers_[static_cast<size_t>(prepared_)], &GridEngine::lane_main,
                  &lanes_[static_cast<size_t>(prepared_)]);
    }
    int64_t first = 0;
    int64_t step = 1;
    set_order(shape.grid, &first, &step);
    int64_t index = first;
    for (int64_t k = 0; k < shape.grid && !failed_; ++k) {
      begin_block(index);
      run_block();
      index = (index + step) % shape.grid;
    }
    // Fibers that stopped inside a body stand nowhere useful.
    if (failed_) prepared_ = 0;
  }
  running_engine = outer;
  if (check) check->shadow->end_launch();
  return !failed_;
}

void GridEngine::begin_block(int64_t index) {
  block_.bid = index;
  block_.poisoned = false;
  // A NaN in every floating dtype, so that what is read before it was written shows.
  if (block_.dynamic_bytes > 0) std::memset(block_.shared, 0xff, block_.dynamic_bytes);
  if (!check_) return;
  const bool checked = index < 2 || index % check_->every == 0;
  kernel_ = checked ? check_->kernel : plain_;
  watch_ = checked ? check_->shadow : nullptr;
  if (checked) watch_->begin_block();
}

// ---- kernels without cooperation ----------------------------------------------------------------

void GridEngine::flat_main(void* arg) {
  auto* self = static_cast<GridEngine*>(arg);
  fiber_arrived(self->host_);
  for (;;) {
    self->run_flat_grid();
    fiber_switch(self->flat_, self->host_);
  }
}

void GridEngine::run_flat_grid() {
  int64_t first = 0;
  int64_t step = 1;
  set_order(shape_.grid, &first, &step);
  int64_t index = first;
  for (int64_t k = 0; k < shape_.grid; ++k) {
    begin_block(index);
    if (seed_ == 0 && !watch_) {
      running_ = -1;
      kernel_->block(block_, args_);
    } else {
      int64_t lane = 0;
      int64_t stride = 1;
      set_order(shape_.block, &lane, &stride);
      for (int j = 0; j < shape_.block; ++j) {
        running_ = static_cast<int>(lane);
        kernel_->flat_lane(block_, running_, args_);
        lane = (lane + stride) % shape_.block;
      }
    }
    index = (index + step) % shape_.grid;
  }
}

// ---- cooperating lanes --------------------------------------------------------------------------

void GridEngine::lane_main(void* arg) {
  auto* lane = static_cast<Lane*>(arg);
  GridEngine* self = running_engine;
  fiber_arrived(self->came_from_ < 0 ? self->host_
                                     : self->fibers_[static_cast<size_t>(self->came_from_)]);
  for (;;) {
    self->kernel_->lane(lane, self->args_);
    self->lane_done(lane);
  }
}

void GridEngine::run_block() {
  for (int w = 0; w < warps_; ++w) {
    ready_[w] = kFull;
    waiting_[w] = 0;
    exited_[w] = 0;
  }
  ready_warps_ = warps_ == kMaxWarps ? kFull : (1u << warps_) - 1u;
  n_exited_ = 0;
  n_barrier_ = 0;
  for (int k = 0; k < shape_.block; ++k) lanes_[static_cast<size_t>(k)].turn = 0;
  running_ = 0;
  running_ = next_ready();
  came_from_ = -1;
  fiber_switch(host_, fibers_[static_cast<size_t>(running_)]);
}

int GridEngine::next_ready() {
  int w = running_ / kWarp;
  if (seed_ != 0) {
    // Any ready warp, any ready lane in it.
    const auto turn = static_cast<int>(random() % kMaxWarps);
    w = (turn + std::countr_zero(std::rotr(ready_warps_, turn))) % kMaxWarps;
    const auto spin = static_cast<int>(random() % kWarp);
    const int lane = (spin + std::countr_zero(std::rotr(ready_[w], spin))) % kWarp;
    return w * kWarp + lane;
  }
  if (ready_[w] == 0) w = std::countr_zero(ready_warps_);
  return w * kWarp + std::countr_zero(ready_[w]);
}

void GridEngine::go_on_from(Lane* lane) {
  if (ready_warps_ == 0) stuck(lane);
  const int next = next_ready();
  came_from_ = lane->tid;
  running_ = next;
  fiber_switch(fibers_[static_cast<size_t>(lane->tid)], fibers_[static_cast<size_t>(next)]);
}

void GridEngine::lane_done(Lane* lane) {
  const int w = lane->tid / kWarp;
  const uint32_t bit = 1u << (lane->tid % kWarp);
  exited_[w] |= bit;
  ready_[w] &= ~bit;
  if (ready_[w] == 0) ready_warps_ &= ~(1u << w);
  ++n_exited_;
  if (n_exited_ == shape_.block) {
    came_from_ = lane->tid;
    fiber_switch(fibers_[static_cast<size_t>(lane->tid)], host_);
    return;
  }
  go_on_from(lane);
}

void GridEngine::barrier(Lane* lane, Site site) {
  if (n_barrier_ == 0) {
    barrier_site_ = site;
    barrier_lane_ = lane->tid;
  } else if (!same(barrier_site_, site)) {
    fail({GridFault::divergent_barrier, site, barrier_site_, block_.bid, lane->tid, barrier_lane_,
          0, 0});
  }
  if (n_exited_ > 0) {
    int gone = 0;
    while (exited_[gone] == 0) ++gone;
    fail({GridFault::lane_exited,
          site,
          {nullptr, 0},
          block_.bid,
          lane->tid,
          gone * kWarp + std::countr_zero(exited_[gone]),
          0,
          0});
  }
  if (++n_barrier_ == shape_.block) {
    n_barrier_ = 0;
    if (watch_) watch_->raise();
    for (int w = 0; w < warps_; ++w) ready_[w] = kFull;
    ready_warps_ = warps_ == kMaxWarps ? kFull : (1u << warps_) - 1u;
    return;
  }
  const int w = lane->tid / kWarp;
  lane->wait = LaneWait::barrier;
  lane->site = site;
  ready_[w] &= ~(1u << (lane->tid % kWarp));
  if (ready_[w] == 0) ready_warps_ &= ~(1u << w);
  go_on_from(lane);
}

bool GridEngine::warp(Lane* lane, LaneWait kind, Site site) {
  const int w = lane->tid / kWarp;
  const uint32_t bit = 1u << (lane->tid % kWarp);
  if (waiting_[w] == 0) {
    warp_kind_[w] = kind;
    warp_site_[w] = site;
  } else if (warp_kind_[w] != kind || !same(warp_site_[w], site)) {
    fail({GridFault::divergent_warp, site, warp_site_[w], block_.bid, lane->tid,
          w * kWarp + std::countr_zero(waiting_[w]), 0, 0});
  }
  if (exited_[w] != 0) {
    fail({GridFault::lane_exited,
          site,
          {nullptr, 0},
          block_.bid,
          lane->tid,
          w * kWarp + std::countr_zero(exited_[w]),
          0,
          0});
  }
  waiting_[w] |= bit;
  if (waiting_[w] == kFull) {
    // Other operations of a warp move values and order no memory.
    if (watch_ && kind == LaneWait::warp_sync) watch_->warp_synced(w);
    waiting_[w] = 0;
    ready_[w] = kFull;
    ready_warps_ |= 1u << w;
    return true;
  }
  lane->wait = kind;
  lane->site = site;
  ready_[w] &= ~bit;
  if (ready_[w] == 0) ready_warps_ &= ~(1u << w);
  go_on_from(lane);
  return false;
}

// Nobody can go on: some lanes wait for others that wait elsewhere or have returned.
void GridEngine::stuck(const Lane* lane) {
  for (int w = 0; w < warps_; ++w) {
    if (waiting_[w] == 0) continue;
    const uint32_t absent = ~waiting_[w];
    const int other = w * kWarp + std::countr_zero(absent);
    const bool gone = (exited_[w] & absent & (~absent + 1u)) != 0;
    fail({gone ? GridFault::lane_exited : GridFault::divergent_warp, warp_site_[w],
          gone ? Site{nullptr, 0} : lanes_[static_cast<size_t>(other)].site, block_.bid,
          w * kWarp + std::countr_zero(waiting_[w]), other, 0, 0});
  }
  int gone = 0;
  while (gone < warps_ && exited_[gone] == 0) ++gone;
  fail({GridFault::lane_exited,
        barrier_site_,
        {nullptr, 0},
        block_.bid,
        barrier_lane_,
        gone < warps_ ? gone * kWarp + std::countr_zero(exited_[gone]) : lane->tid,
        0,
        0});
}

void GridEngine::fail(const GridReport& report) {
  *report_ = report;
  failed_ = true;
  Fiber& from = kernel_->cooperative ? fibers_[static_cast<size_t>(running_)] : flat_;
  fiber_switch(from, host_);
  __builtin_unreachable();
}

// ---- what bodies call ---------------------------------------------------------------------------

void lane_barrier(Lane* lane, Site site) {
  running_engine->barrier(lane, site);
}

bool lane_warp(Lane* lane, LaneWait kind, Site site) {
  return running_engine->warp(lane, kind, site);
}

void lane_fail(LaneFault kind, Site site, uint64_t address, uint64_t bytes) {
  GridEngine& engine = *running_engine;
  GridReport report;
  switch (kind) {
    case LaneFault::misaligned: report.fault = GridFault::misaligned; break;
    case LaneFault::shared_size: report.fault = GridFault::shared_size; break;
    case LaneFault::declared_twice: report.fault = GridFault::declared_twice; break;
    case LaneFault::untranslated: report.fault = GridFault::untranslated; break;
  }
  report.site = site;
  report.block = engine.running_block();
  report.lane = engine.running_lane();
  report.address = address;
  report.bytes = bytes;
  engine.fail(report);
}

void describe(const GridReport& report, const char* kernel, char* text, size_t bytes) {
  char where[192];
  char lane[32];
  std::snprintf(where, sizeof where, "%s:%d", report.site.file ? base_name(report.site.file) : "?",
                report.site.line);
  if (report.lane >= 0) {
    std::snprintf(lane, sizeof lane, "lane %d", report.lane);
  } else {
    std::snprintf(lane, sizeof lane, "a lane");
  }
  char other[192] = "";
  if (report.other.file) {
    std::snprintf(other, sizeof other, "lane %d waits at %s:%d", report.other_lane,
                  base_name(report.other.file), report.other.line);
  } else if (report.other_lane >= 0) {
    std::snprintf(other, sizeof other, "lane %d has returned", report.other_lane);
  }
  const auto block = static_cast<long long>(report.block);
  const auto n = static_cast<unsigned long long>(report.bytes);
  switch (report.fault) {
    case GridFault::none: std::snprintf(text, bytes, "kernel %s: no fault", kernel); return;
    case GridFault::misaligned:
      std::snprintf(
          text, bytes,
          "kernel %s: block %lld, %s: access of %llu bytes at address 0x%llx, which is not "
          "a multiple of it, at %s",
          kernel, block, lane, n, static_cast<unsigned long long>(report.address), where);
      return;
    case GridFault::shared_size:
      std::snprintf(text, bytes,
                    "kernel %s: block %lld: %llu bytes of shared memory, the limit is %llu, at %s",
                    kernel, block, n, static_cast<unsigned long long>(report.address), where);
      return;
    case GridFault::declared_twice:
      std::snprintf(text, bytes,
                    "kernel %s: block %lld, %s: shared memory declared with %llu bytes and with "
                    "%llu, at %s",
                    kernel, block, lane, n, static_cast<unsigned long long>(report.address), where);
      return;
    case GridFault::untranslated:
      std::snprintf(text, bytes,
                    "kernel %s: block %lld, %s: a device address was used as it is, at %s", kernel,
                    block, lane, where);
      return;
    case GridFault::divergent_barrier:
      std::snprintf(text, bytes,
                    "kernel %s: block %lld: divergent barrier: lane %d waits at %s, %s", kernel,
                    block, report.lane, where, other);
      return;
    case GridFault::divergent_warp:
      std::snprintf(text, bytes,
                    "kernel %s: block %lld: divergent warp operation: lane %d waits at %s, %s",
                    kernel, block, report.lane, where, other);
      return;
    case GridFault::lane_exited:
      std::snprintf(text, bytes, "kernel %s: block %lld: lane %d waits at %s, but %s", kernel,
                    block, report.lane, where, other);
      return;
    case GridFault::out_of_bounds:
    case GridFault::unwritten:
    case GridFault::race:
    case GridFault::block_race:
    case GridFault::mixed_atomic:
    case GridFault::inner_index:
    case GridFault::null_address: describe_access(report, kernel, text, bytes); return;
  }
}

}  // namespace mill::sim
