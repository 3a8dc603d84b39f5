#include "gpu/runtime/sim/check/shadow.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <new>

#include "base/dtype.h"

namespace mill::sim {

namespace {

// The last epoch that is given out; cells then begin anew.
constexpr uint32_t kLastEpoch = UINT32_MAX - 1;
constexpr uint64_t kBytesPerCell = 2;
constexpr uint64_t kSlack = 16;  // behind the bits, for loads of whole words
constexpr uint64_t kSharedSpan = uint64_t{512} << 10;

// Any function of the module will do.
void here() {}

}  // namespace

constinit thread_local Shadow* watching __attribute__((tls_model("initial-exec"))) = nullptr;

// ---- pages --------------------------------------------------------------------------------------

SparsePages::SparsePages(uint64_t bytes) : bytes_(bytes) {
  void* memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) throw std::bad_alloc();
  data_ = static_cast<unsigned char*>(memory);
  madvise(memory, bytes, MADV_DONTDUMP);
}

SparsePages::~SparsePages() {
  munmap(data_, bytes_);
}

void SparsePages::zero(uint64_t from, uint64_t bytes) noexcept {
  const auto page = static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
  const uint64_t end = from + bytes;
  const uint64_t first = std::min(end, (from + page - 1) & ~(page - 1));
  const uint64_t last = std::max(first, end & ~(page - 1));
  std::memset(data_ + from, 0, first - from);
  if (last > first) madvise(data_ + first, last - first, MADV_DONTNEED);
  std::memset(data_ + last, 0, end - last);
}

// ---- history ------------------------------------------------------------------------------------

Shadow::Shadow(const Space& space)
    : device_begin_(reinterpret_cast<uintptr_t>(space.bytes_of(space.begin()))),
      span_(space.span()),
      code_base_(reinterpret_cast<uintptr_t>(&here)),
      space_(space),
      h_begin_(space.begin()),
      delta_(space.delta()),
      cell_pages_(space.span() / kBytesPerCell * sizeof(Cell)),
      bit_pages_(space.span() / 8 + kSlack),
      tracked_pages_(space.span() / Space::kGranule + 1),
      shared_cell_pages_(kSharedSpan / kBytesPerCell * sizeof(Cell)),
      shared_bit_pages_(kSharedSpan / 8 + kSlack) {
  cells_ = reinterpret_cast<Cell*>(cell_pages_.data());
  bits_ = bit_pages_.data();
  shared_cells_ = reinterpret_cast<Cell*>(shared_cell_pages_.data());
  shared_bits_ = shared_bit_pages_.data();
}

void Shadow::fresh(const void* p, uint64_t bytes) noexcept {
  const std::lock_guard lock(mutex_);
  const uint64_t offset = offset_of(p);
  bit_pages_.zero(offset / 8, bytes / 8);
  std::memset(tracked_pages_.data() + offset / Space::kGranule, 1, bytes / Space::kGranule);
}

void Shadow::gone(const void* p, uint64_t bytes) noexcept {
  const std::lock_guard lock(mutex_);
  const uint64_t offset = offset_of(p);
  cell_pages_.zero(offset / kBytesPerCell * sizeof(Cell), bytes / kBytesPerCell * sizeof(Cell));
  tracked_pages_.zero(offset / Space::kGranule, bytes / Space::kGranule);
}

void Shadow::written(const void* p, uint64_t bytes) noexcept {
  const std::lock_guard lock(mutex_);
  mark(offset_of(p), bytes);
}

void Shadow::written(const mill_kernel_tensor& tensor) noexcept {
  if (tensor.numel == 0) return;
  const std::lock_guard lock(mutex_);
  const Range range = range_of(tensor);
  mark(range.begin, range.end - range.begin);
}

void Shadow::forget() noexcept {
  const std::lock_guard lock(mutex_);
  cell_pages_.zero_all();
  tracked_pages_.zero_all();
}

void Shadow::mark(uint64_t offset, uint64_t bytes) noexcept {
  const uint64_t end = offset + bytes;
  for (; offset < end && offset % 8 != 0; ++offset)
    bits_[offset / 8] = static_cast<unsigned char>(bits_[offset / 8] | 1u << offset % 8);
  const uint64_t whole = (end - offset) / 8;
  std::memset(bits_ + offset / 8, 0xff, whole);
  for (offset += whole * 8; offset < end; ++offset)
    bits_[offset / 8] = static_cast<unsigned char>(bits_[offset / 8] | 1u << offset % 8);
}

bool Shadow::lacks(uint32_t set, uint32_t wanted, size_t bytes) {
  if (bytes <= 4) return true;
  // A bit is a byte, so eight bits are an aligned word.
  for (; wanted != 0; wanted >>= 8, set >>= 8) {
    if ((wanted & 0xff) != 0 && (set & wanted & 0xff) == 0) return true;
  }
  return false;
}

// ---- launches -----------------------------------------------------------------------------------

void Shadow::add_operand(const mill_kernel_tensor* tensor, OperandKind kind, uint32_t index) {
  if (!tensor || tensor->numel == 0 || !space_.holds(tensor->data)) return;
  operands_.push_back({range_of(*tensor), kind, index});
}

Shadow::Range Shadow::range_of(const mill_kernel_tensor& tensor) const {
  const auto size = static_cast<int64_t>(dtype_size(tensor.dtype));
  int64_t low = 0;
  int64_t high = 0;
  for (int32_t i = 0; i < tensor.rank; ++i) {
    const int64_t reach = (tensor.dims[i] - 1) * tensor.strides[i];
    (reach < 0 ? low : high) += reach;
  }
  const auto at = static_cast<int64_t>(offset_of(tensor.data));
  return {static_cast<uint64_t>(at + low * size), static_cast<uint64_t>(at + (high + 1) * size)};
}

void Shadow::set_operands(const mill_kernel_args* args) {
  for (uint32_t k = 0; k < args->n_in; ++k) add_operand(args->in[k], OperandKind::input, k);
  for (uint32_t k = 0; k < args->n_out; ++k) add_operand(args->out[k], OperandKind::output, k);
  if (args->workspace && args->workspace_bytes > 0 && space_.holds(args->workspace)) {
    const uint64_t at = offset_of(args->workspace);
    operands_.push_back({{at, at + args->workspace_bytes}, OperandKind::workspace, 0});
  }
}

bool Shadow::run(const mill_kernel_args* args, const KernelInfo& plain, const KernelInfo& checked,
                 int64_t every, const GridShape& shape, const GridDevice& device, void* const* argv,
                 GridReport* report) {
  // Asked before the lock is taken: memory that is allocated meanwhile takes both locks the other
  // way round.
  const std::vector<Space::Live> live = space_.live();
  const std::lock_guard lock(mutex_);
  operands_.clear();
  set_operands(args);
  if (every > 1) {
    // What the unchecked blocks write is not seen.
    for (const Operand& one : operands_) {
      if (one.kind != OperandKind::input) mark(one.begin, one.end - one.begin);
    }
  }
  if (operands_.empty()) {
    for (const Space::Live& one : live)
      operands_.push_back({{one.offset, one.offset + one.bytes}, OperandKind::memory, 0});
  }
  // Never empty, so that accesses need not ask.
  if (operands_.empty()) operands_.push_back({{0, 0}, OperandKind::memory, 0});
  std::sort(operands_.begin(), operands_.end(),
            [](const Operand& a, const Operand& b) { return a.begin < b.begin; });
  size_t kept = 0;
  for (size_t i = 1; i < operands_.size(); ++i) {
    if (operands_[i].begin < operands_[kept].end) {
      operands_[kept].end = std::max(operands_[kept].end, operands_[i].end);
    } else {
      operands_[++kept] = operands_[i];
    }
  }
  operands_.resize(kept + 1);
  last_operand_ = 0;
  const GridCheck check{&checked, this, every};
  return GridEngine::here().run(plain, shape, device, argv, report, &check);
}

void Shadow::begin_launch(GridEngine* engine, const BlockState* block, const int* lane,
                          uint64_t arena_bytes) {
  engine_ = engine;
  block_ = block;
  lane_ = lane;
  arena_ = reinterpret_cast<uintptr_t>(block->shared) - kSharedGap;
  arena_bytes_ = std::min(arena_bytes + kSharedGap, kSharedSpan);
  raise();
  launch_epoch_ = epoch_;
  block_epoch_ = epoch_;
  std::memset(shared_bits_, 0, kSharedSpan / 8);
}

void Shadow::begin_block() {
  raise();
  block_epoch_ = epoch_;
  std::memset(warp_epoch_, 0, sizeof warp_epoch_);
  // Of the block before: nothing outside these bytes can have been written.
  std::memset(shared_bits_, 0, (block_->static_offset() + block_->static_bytes) / 8 + 1);
  watching = this;
}

void Shadow::end_launch() {
  watching = nullptr;
  arena_ = 0;
  arena_bytes_ = 0;
}

void Shadow::raise() {
  if (epoch_ >= kLastEpoch) {
    // The launch loses what it knew of its accesses so far, no more.
    cell_pages_.zero_all();
    shared_cell_pages_.zero_all();
    epoch_ = 0;
    launch_epoch_ = 1;
    block_epoch_ = 1;
  }
  ++epoch_;
}

// ---- what is wrong ------------------------------------------------------------------------------

GridReport Shadow::begin_report(GridFault fault, size_t bytes, bool write, bool atomic,
                                uintptr_t code) const {
  GridReport report;
  report.fault = fault;
  report.block = block_->bid;
  report.lane = *lane_;
  report.bytes = bytes;
  report.access = atomic ? AccessKind::atomic : write ? AccessKind::write : AccessKind::read;
  report.code = code;
  return report;
}

void Shadow::outside_operands(uint64_t offset, size_t bytes, bool write, bool atomic,
                              uintptr_t code) {
  GridReport report = begin_report(GridFault::out_of_bounds, bytes, write, atomic, code);
  report.address = reinterpret_cast<uintptr_t>(h_begin_) + offset;
  size_t near = 0;
  while (near + 1 < operands_.size() && operands_[near + 1].begin <= offset) ++near;
  const Operand& operand = operands_[near];
  report.operand = operand.kind;
  report.operand_index = operand.index;
  report.operand_bytes = operand.end - operand.begin;
  report.position = static_cast<int64_t>(offset) - static_cast<int64_t>(operand.begin);
  engine_->fail(report);
}

void Shadow::outside_shared(int64_t offset, size_t bytes, bool write, bool atomic, uintptr_t code) {
  GridReport report = begin_report(GridFault::out_of_bounds, bytes, write, atomic, code);
  const int64_t fixed = block_->static_offset();
  // What lies in the gap belongs to the part before it, unless it is nearer to the one behind.
  const bool dynamic = fixed > 0 && offset < fixed - int64_t{kSharedGap} / 2;
  report.shared = true;
  report.operand = dynamic ? OperandKind::dynamic_shared : OperandKind::static_shared;
  report.operand_bytes = dynamic ? block_->dynamic_bytes : block_->static_bytes;
  report.position = dynamic ? offset : offset - fixed;
  engine_->fail(report);
}

void Shadow::no_memory(uintptr_t at, size_t bytes, bool write, bool atomic, uintptr_t code) {
  GridReport report =
      begin_report(at < kNullPage ? GridFault::null_address : GridFault::untranslated, bytes, write,
                   atomic, code);
  report.address = at;
  engine_->fail(report);
}

void Shadow::unwritten(bool shared, uint64_t offset, size_t bytes, bool atomic, uintptr_t code) {
  GridReport report = begin_report(GridFault::unwritten, bytes, false, atomic, code);
  report.shared = shared;
  report.address = shared ? offset : reinterpret_cast<uintptr_t>(h_begin_) + offset;
  engine_->fail(report);
}

void Shadow::race(const Access& before, bool before_writes, bool shared, uint64_t offset,
                  size_t bytes, bool write, uint32_t who, int32_t code) {
  const bool atomic = (who & kAtomicAccess) != 0;
  const bool before_atomic = (before.who & kAtomicAccess) != 0;
  GridReport report = begin_report(GridFault::race, bytes, write, atomic,
                                   code_base_ + static_cast<uintptr_t>(code));
  const bool other_block = !shared && (before.epoch < block_epoch_ || (before.who & kBlocks) != 0);
  if (atomic != before_atomic) {
    report.fault = GridFault::mixed_atomic;
  } else if (other_block) {
    report.fault = GridFault::block_race;
  }
  report.shared = shared;
  report.other_block = other_block;
  report.address = shared ? offset : reinterpret_cast<uintptr_t>(h_begin_) + offset;
  report.other_code = code_base_ + static_cast<uintptr_t>(before.code);
  report.other_access = before_atomic   ? AccessKind::atomic
                        : before_writes ? AccessKind::write
                                        : AccessKind::read;
  // Where flags alone tell of the other, its lane is not known.
  const bool known = other_block ? before.epoch < block_epoch_ : !same_lane(before.who, who);
  report.other_lane = known ? static_cast<int>(before.who >> kLaneShift) : -1;
  engine_->fail(report);
}

void Shadow::inner_index(Site site, const char* array, int64_t index, uintptr_t code) {
  GridReport report = begin_report(GridFault::inner_index, 0, false, false, code);
  report.site = site;
  report.array = array;
  report.position = index;
  engine_->fail(report);
}

}  // namespace mill::sim
