#include "profiler/timeline/link.h"

#include <algorithm>
#include <tuple>
#include <utility>

#include "profiler/timeline/order.h"
#include "profiler/timeline/rows.h"

namespace mill::prof {

namespace {

// ---- numbers to rows ----------------------------------------------------------------------------

// The first row of each number; 0 is no number.
class ByNumber {
 public:
  explicit ByNumber(const std::vector<uint64_t>& numbers) {
    for (uint32_t row = 0; row < numbers.size(); ++row) {
      if (numbers[row] != 0) entries_.push_back({numbers[row], row});
    }
    if (!std::is_sorted(entries_.begin(), entries_.end()))
      std::sort(entries_.begin(), entries_.end());
  }
  uint32_t find(uint64_t number) const {
    if (number == 0) return kNoRow;
    const auto at = std::lower_bound(entries_.begin(), entries_.end(),
                                     std::pair<uint64_t, uint32_t>{number, 0});
    return at != entries_.end() && at->first == number ? at->second : kNoRow;
  }
  // The last row of the number that is no later than `row`.
  uint32_t last_until(uint64_t number, uint32_t row) const {
    if (number == 0) return kNoRow;
    const auto at = std::upper_bound(entries_.begin(), entries_.end(),
                                     std::pair<uint64_t, uint32_t>{number, row});
    if (at == entries_.begin() || std::prev(at)->first != number) return kNoRow;
    return std::prev(at)->second;
  }

 private:
  std::vector<std::pair<uint64_t, uint32_t>> entries_;
};

// Calls by (correlation, device). A correlation may come again: 32 bits wrap.
class ByCorrelation {
 public:
  explicit ByCorrelation(const Calls& calls) : calls_(calls) {
    entries_.reserve(calls.size());
    for (uint32_t row = 0; row < calls.size(); ++row) {
      if (calls.correlation[row] == 0) continue;
      entries_.push_back({calls.correlation[row], calls.device[row], row});
      (calls.device[row] == kNoRow ? some_unknown_ : some_known_) = true;
    }
    const auto before = [](const Entry& a, const Entry& b) { return a.key() < b.key(); };
    if (!std::is_sorted(entries_.begin(), entries_.end(), before))
      std::sort(entries_.begin(), entries_.end(), before);
  }

  // The last call that begins before `end`, else the first.
  uint32_t find(uint64_t correlation, uint32_t device, Ns end) {
    if (correlation == 0) return kNoRow;
    uint32_t found = some_known_ ? find_in(correlation, device, end) : kNoRow;
    const uint32_t other = some_unknown_ ? find_in(correlation, kNoRow, end) : kNoRow;
    if (found == kNoRow) return other;
    if (other == kNoRow) return found;
    const bool found_before = calls_.start[found] < end;
    const bool other_before = calls_.start[other] < end;
    if (found_before != other_before) return found_before ? found : other;
    return found_before ? std::max(found, other) : std::min(found, other);
  }

 private:
  struct Entry {
    uint64_t correlation;
    uint32_t device;
    uint32_t row;
    std::tuple<uint64_t, uint32_t, uint32_t> key() const { return {correlation, device, row}; }
  };
  using Iterator = std::vector<Entry>::const_iterator;

  uint32_t find_in(uint64_t correlation, uint32_t device, Ns end) {
    const auto before = [&](const Entry& entry) {
      return std::pair{entry.correlation, entry.device} < std::pair{correlation, device};
    };
    // Work mostly starts in the order of its calls, so the next one is near the last.
    Iterator low = entries_.begin();
    Iterator high = entries_.end();
    if (near_ < entries_.size()) {
      const Iterator hint = entries_.begin() + static_cast<std::ptrdiff_t>(near_);
      if (before(*hint)) {
        low = hint;
        for (std::ptrdiff_t step = 1; high - low > step; step *= 2) {
          if (!before(low[step])) {
            high = low + step + 1;
            break;
          }
          low += step;
        }
      } else {
        high = hint + 1;
      }
    }
    const Iterator begin = std::partition_point(low, high, before);
    near_ = static_cast<size_t>(begin - entries_.begin());
    if (begin == entries_.end() || begin->correlation != correlation || begin->device != device)
      return kNoRow;
    const auto of_number_in_time = [&](const Entry& entry) {
      return entry.correlation == correlation && entry.device == device &&
             calls_.start[entry.row] < end;
    };
    // One entry a number is the rule.
    if (begin + 1 == entries_.end() || !of_number_in_time(begin[1])) return begin->row;
    return std::prev(std::partition_point(begin, entries_.cend(), of_number_in_time))->row;
  }

  const Calls& calls_;
  std::vector<Entry> entries_;
  bool some_known_ = false;
  bool some_unknown_ = false;
  size_t near_ = 0;
};

// ---- joins --------------------------------------------------------------------------------------

using Rows = std::vector<std::vector<uint32_t>>;

void link_parents(Ops& ops, const Rows& ops_of) {
  // Deeper than any program nests; so that whoever climbs from op to op does so in bounded time.
  constexpr uint16_t kDeepest = 512;
  std::vector<uint16_t> depth(ops.size());
  std::vector<uint32_t> open;
  for (const std::vector<uint32_t>& rows : ops_of) {
    open.clear();
    for (const uint32_t row : rows) {
      if (!possible(ops.start[row], ops.end[row])) continue;
      while (!open.empty() && ops.end[open.back()] <= ops.start[row]) open.pop_back();
      uint32_t parent = open.empty() ? kNoRow : open.back();
      while (parent != kNoRow && ops.end[parent] < ops.end[row]) parent = ops.parent[parent];
      if (parent != kNoRow && depth[parent] >= kDeepest) parent = ops.parent[parent];
      ops.parent[row] = parent;
      depth[row] = parent == kNoRow ? uint16_t{0} : static_cast<uint16_t>(depth[parent] + 1);
      open.push_back(row);
    }
  }
}

// The op of each row of a table with threads and instances.
template <class T>
void link_ops(T& table, const Rows& rows_of, const Ops& ops, const Rows& ops_of,
              const ByNumber& op_numbers) {
  for (size_t thread = 0; thread < rows_of.size(); ++thread) {
    InnermostOp innermost(ops, ops_of[thread]);
    for (const uint32_t row : rows_of[thread]) {
      const uint32_t around = innermost.at(table.start[row]);
      const uint32_t named = op_numbers.find(table.instance[row]);
      table.op[row] = named != kNoRow ? named : around;
    }
  }
}

void link_work(Trace& trace, const ByNumber& op_numbers) {
  Work& work = trace.work;
  Calls& calls = trace.calls;
  ByCorrelation by_correlation(calls);
  for (uint32_t row = 0; row < work.size(); ++row) {
    const uint32_t call = by_correlation.find(work.correlation[row], work.device[row],
                                              std::max(work.start[row], work.end[row]));
    work.call[row] = call;
    if (call == kNoRow) {
      work.op[row] = op_numbers.find(work.instance[row]);
      continue;
    }
    work.op[row] = calls.op[call] != kNoRow ? calls.op[call] : op_numbers.find(work.instance[row]);
    uint32_t& first = calls.work[call];
    if (first == kNoRow || work.start[row] < work.start[first]) first = row;
  }
}

bool leaves_device(const Trace& trace, uint32_t copy) {
  switch (static_cast<Memory>(trace.copies.from[copy])) {
    case Memory::device: return true;
    case Memory::unknown: {
      const uint32_t device = trace.copies.from_device[copy];
      return device != kNoRow && trace.devices[device].kind == DeviceKind::accelerator;
    }
    default: return false;
  }
}

void link_copies(Trace& trace, const Rows& calls_of) {
  // A copy asks the runtime for its stream, its events and the copy itself; not for more than this.
  constexpr size_t kMostCalls = 64;
  Copies& copies = trace.copies;
  const Calls& calls = trace.calls;
  const Ops& ops = trace.ops;
  Work& work = trace.work;
  const ByNumber by_storage(ops.storage);
  const ByNumber by_tensor(ops.tensor);
  for (uint32_t row = 0; row < copies.size(); ++row) {
    const std::vector<uint32_t>& rows = calls_of[copies.thread[row]];
    auto at = std::lower_bound(rows.begin(), rows.end(), copies.start[row],
                               [&](uint32_t call, Ns t) { return calls.start[call] < t; });
    for (size_t k = 0; k < kMostCalls && at != rows.end(); ++k, ++at) {
      if (calls.start[*at] >= copies.end[row]) break;
      const uint32_t piece = calls.work[*at];
      if (piece == kNoRow || work.copy[piece] != kNoRow) continue;
      if (work.kind[piece] != static_cast<uint8_t>(WorkKind::copy)) continue;
      if (work.bytes[piece] != copies.bytes[row]) continue;
      copies.work[row] = piece;
      work.copy[piece] = row;
      if (work.tensor[piece] == 0) {
        work.tensor[piece] = copies.tensor[row];
        work.tensor_version[piece] = copies.tensor_version[row];
      }
      if (work.storage[piece] == 0) work.storage[piece] = copies.storage[row];
      break;
    }
    if (!leaves_device(trace, row)) continue;
    // Ops are by start, so the last one that began before the copy has the highest row below.
    const auto later = std::upper_bound(ops.start.begin(), ops.start.end(), copies.start[row]);
    if (later == ops.start.begin()) continue;
    const auto last = static_cast<uint32_t>(later - ops.start.begin() - 1);
    const bool stored = copies.storage[row] != 0;
    const ByNumber& numbers = stored ? by_storage : by_tensor;
    const uint64_t number = stored ? copies.storage[row] : copies.tensor[row];
    uint32_t op = numbers.last_until(number, last);
    // Not the op that is the copy itself.
    if (op != kNoRow && op > 0 && copies.instance[row] != 0 &&
        ops.instance[op] == copies.instance[row]) {
      op = numbers.last_until(number, op - 1);
    }
    copies.op[row] = op;
  }
}

// Takes the numbers: how many of them come more than once.
template <class Number>
uint64_t count_repeated(std::vector<Number> numbers) {
  std::sort(numbers.begin(), numbers.end());
  uint64_t repeated = 0;
  for (auto at = numbers.begin(); at != numbers.end();) {
    const auto next = std::upper_bound(at, numbers.end(), *at);
    if (next - at > 1) repeated += static_cast<uint64_t>(next - at);
    at = next;
  }
  return repeated;
}

LinkCounts count(const Trace& trace, const Rows& calls_of) {
  const Calls& calls = trace.calls;
  const Work& work = trace.work;
  LinkCounts counts;
  counts.work = work.size();
  // CUPTI keeps no record of them: where none is shown, none is missing.
  const bool host_functions =
      std::find(work.kind.begin(), work.kind.end(),
                static_cast<uint8_t>(WorkKind::host_function)) != work.kind.end();
  for (uint32_t row = 0; row < work.size(); ++row) {
    if (work.op[row] == kNoRow && work.copy[row] == kNoRow) ++counts.work_without_op;
    if (work.call[row] == kNoRow && !calls.empty()) ++counts.work_without_call;
  }
  // A runtime that is built on a driver shows one launch twice, one call inside the other: it
  // counts once, and has work if either has.
  uint64_t under_way = 0;
  std::vector<std::pair<uint64_t, uint32_t>> numbers;
  for (const std::vector<uint32_t>& rows : calls_of) {
    uint32_t outer = kNoRow;
    bool has_work = false;
    const auto close = [&] {
      if (outer == kNoRow || has_work || calls.status[outer] != 0) return;
      if (calls.flags[outer] & kUnfinished) {
        ++under_way;
      } else {
        ++counts.launches_without_work;
      }
    };
    for (const uint32_t row : rows) {
      if (!asks_for_work(static_cast<CallKind>(calls.kind[row]))) continue;
      if (calls.kind[row] == static_cast<uint8_t>(CallKind::host_function) && !host_functions)
        continue;
      const bool inside = outer != kNoRow && calls.start[row] < calls.end[outer] &&
                          calls.end[row] <= calls.end[outer];
      if (!inside) {
        close();
        outer = row;
        has_work = false;
        ++counts.launches;
        if (calls.correlation[row] != 0)
          numbers.emplace_back(calls.correlation[row], calls.device[row]);
      }
      has_work |= calls.work[row] != kNoRow;
    }
    close();
  }
  counts.launches_of_one_number = count_repeated(std::move(numbers));
  // What the device had not finished, and so not reported, when the recording ended.
  if (trace.unfinished > under_way) {
    counts.launches_without_work -=
        std::min(counts.launches_without_work, trace.unfinished - under_way);
  }
  return counts;
}

}  // namespace

LinkCounts link(Trace& trace) {
  make_safe(trace);
  sort_tables(trace);
  const size_t threads = trace.threads.size();
  const Rows ops_of = rows_by_thread(trace.ops.thread, threads);
  const Rows calls_of = rows_by_thread(trace.calls.thread, threads);
  const ByNumber op_numbers(trace.ops.instance);

  link_parents(trace.ops, ops_of);
  for (uint32_t row = 0; row < trace.ops.size(); ++row) {
    const uint32_t forward = op_numbers.find(trace.ops.forward[row]);
    if (forward != row) trace.ops.forward_op[row] = forward;
  }
  link_ops(trace.calls, calls_of, trace.ops, ops_of, op_numbers);
  link_ops(trace.allocations, rows_by_thread(trace.allocations.thread, threads), trace.ops, ops_of,
           op_numbers);
  link_work(trace, op_numbers);
  link_copies(trace, calls_of);
  return count(trace, calls_of);
}

}  // namespace mill::prof
