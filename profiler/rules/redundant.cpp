// T6: transfers of what the device has already. Section 3.2 of the design notes.
#include "profiler/rules/redundant.h"

#include <algorithm>
#include <map>
#include <span>
#include <utility>

namespace mill::prof {

namespace {

constexpr size_t kMostTensors = 10;

// What was sent: two transfers with the same content move the same bytes.
struct Content {
  uint64_t id = 0;  // of a tensor, or of the storage that was copied from; 0: not known
  bool from_storage = false;
  uint64_t offset = 0;
  uint64_t version = 0;
  uint64_t bytes = 0;
  friend auto operator<=>(const Content&, const Content&) = default;  // NOLINT: not a null
};

Content content_of(const Trace& trace, const CopyRow& copy) {
  const Work& work = trace.work;
  const uint32_t link = work.copy[copy.row];
  if (link == kNoRow) {
    return {work.tensor[copy.row], false, 0, work.tensor_version[copy.row], copy.bytes};
  }
  const Copies& copies = trace.copies;
  if (copies.source[link] != 0) {
    return {copies.source[link], true, copies.source_offset[link], copies.tensor_version[link],
            copy.bytes};
  }
  // A loader's workers fill a batch piece by piece: many copies into one version of one tensor.
  if (copies.exec[link] == 0) return {};
  return {copies.tensor[link], false, 0, copies.tensor_version[link], copy.bytes};
}

// The redundant transfers of one tensor to one device.
struct Repeats {
  uint32_t first = kNoRow;  // the row that brought it
  std::vector<uint32_t> rows;
  Content content;
  bool versions_differ = false;
  uint64_t round_trips = 0;
  double bytes = 0;
  double time = 0;
};

class Residents {
 public:
  explicit Residents(const RuleInput& input) : input_(input), trace_(input.timeline.trace()) {}

  void see(const CopyRow& copy) {
    const Content content = content_of(trace_, copy);
    if (copy.kind == CopyKind::device_to_host) {
      const uint32_t link = trace_.work.copy[copy.row];
      if (content.id != 0) left_.emplace(content, copy.row);
      // The host's tensor that the copy made, not written since.
      if (link != kNoRow && trace_.copies.storage[link] != 0) {
        left_.emplace(Content{trace_.copies.storage[link], true, 0, 0, copy.bytes}, copy.row);
      }
      return;
    }
    if (content.id == 0) return;
    const auto [sent, is_new] = sent_.emplace(content, copy.row);
    const auto left = left_.find(content);
    if (is_new && left == left_.end()) return;
    if (!input_.timeline.window().contains(copy.at.begin)) return;
    Repeats& repeats = repeats_[{content.id, content.from_storage}];
    if (repeats.rows.empty()) {
      repeats.first = is_new ? left->second : sent->second;
      repeats.content = content;
    }
    repeats.versions_differ |= repeats.content.version != content.version;
    repeats.round_trips += is_new ? 1 : 0;
    repeats.rows.push_back(copy.row);
    repeats.bytes += static_cast<double>(copy.bytes);
    repeats.time += static_cast<double>(copy.length);
  }

  // By time, most first.
  std::vector<Repeats> take() {
    std::vector<Repeats> all;
    all.reserve(repeats_.size());
    for (auto& [id, repeats] : repeats_) all.push_back(std::move(repeats));
    std::stable_sort(all.begin(), all.end(),
                     [](const Repeats& a, const Repeats& b) { return a.time > b.time; });
    return all;
  }

 private:
  const RuleInput& input_;
  const Trace& trace_;
  std::map<Content, uint32_t> sent_;
  std::map<Content, uint32_t> left_;
  std::map<std::pair<uint64_t, bool>, Repeats> repeats_;
};

void fill_redundant(const RuleInput& input, const DeviceView& view,
                    const std::vector<uint32_t>& rows, Finding& finding) {
  const Interval window = input.timeline.window();
  EvidenceList evidence;
  std::vector<Interval> all;
  double bytes = 0;
  double time = 0;
  for (const uint32_t row : rows) {
    const CopyRow copy = copy_row(input, row);
    bytes += static_cast<double>(copy.bytes);
    time += static_cast<double>(copy.length);
    evidence.add(row, static_cast<double>(copy.length));
    for (const Interval& one : {copy.at, copy.called}) {
      all.push_back({std::max(one.begin, window.begin), std::min(one.end, window.end)});
    }
    finding.plan.drop_work.push_back(row);
    // At worst, finding out that nothing has changed costs the host as much as the call.
    finding.plan_lower.work_duration.emplace_back(row, 0);
  }
  finding.rule = RuleId::T6;
  finding.device = view.device;
  finding.window = window;
  const Ns free = std::max<Ns>(input.timeline.analysed().length() - view.kernel.length(), 0);
  finding.saving.upper = std::min(IntervalSet(std::move(all)).length(), free);
  evidence.give(finding);
  finding.facts = {{"copies", static_cast<double>(rows.size()), Unit::none},
                   {"bytes", bytes, Unit::bytes},
                   {"copy_ns", time, Unit::ns}};
}

std::string name_of(const Trace& trace, const Repeats& repeats) {
  std::string name = maker_text(trace, repeats.rows.front());
  const std::string size = show_bytes(static_cast<double>(repeats.content.bytes));
  const std::string number = std::to_string(repeats.content.id);
  if (!name.empty()) return "of " + name + " (" + size + ")";
  return (repeats.content.from_storage ? "of storage " : "") + number + " (" + size + ")";
}

size_t ops_between(const Trace& trace, uint32_t first, uint32_t last) {
  const std::vector<int64_t>& starts = trace.ops.start;
  const Ns from = trace.work.start[first];
  const Ns to = trace.work.start[last];
  if (to <= from) return 0;
  const auto begin = std::lower_bound(starts.begin(), starts.end(), from);
  const auto end = std::lower_bound(starts.begin(), starts.end(), to);
  return static_cast<size_t>(end - begin);
}

// Versions count what ops write.
const char* own_writes(const RuleInput& input) {
  return of_engine(input.timeline.trace())
             ? "If the program writes into that memory itself, past the engine, they were needed. "
             : "";
}

void report_tensor(const RuleInput& input, const DeviceView& view, const Repeats& repeats,
                   std::vector<Finding>& out) {
  const Trace& trace = input.timeline.trace();
  Finding finding;
  fill_redundant(input, view, repeats.rows, finding);
  finding.fix = {"keep_resident", static_cast<double>(repeats.content.id), false};
  const size_t ops = ops_between(trace, repeats.first, repeats.rows.back());
  finding.facts.push_back({"ops_between", static_cast<double>(ops), Unit::none});
  finding.facts.push_back({"round_trips", static_cast<double>(repeats.round_trips), Unit::none});
  estimate(input, finding);

  const std::string name = name_of(trace, repeats);
  const std::string device = device_text(trace, view.device);
  const uint64_t n = repeats.rows.size();
  const std::string version = repeats.versions_differ
                                  ? "several versions"
                                  : "version " + std::to_string(repeats.content.version);
  finding.title = "Tensor " + name + " was sent to " + device + " " + show_count(n) +
                  (n == 1 ? " time" : " times") + " more than needed, " + show_bytes(repeats.bytes);
  if (repeats.round_trips == n) {
    finding.advice = "Tensor " + name + " (" + version + ") left " + device +
                     " and was sent back unchanged " + show_count(n) +
                     (n == 1 ? " time" : " times");
  } else {
    finding.advice = "Tensor " + name + " (" + version + ") was sent to " + device + " " +
                     show_count(n + 1) + " times without changing";
  }
  finding.advice += ", with " + show_count(ops) +
                    " ops between the first and the last. Keep it on the device: " +
                    bytes_per_step(input, repeats.bytes) + " less traffic. " + own_writes(input) +
                    show_gain(input, finding);
  out.push_back(std::move(finding));
}

void report_rest(const RuleInput& input, const DeviceView& view, std::span<const Repeats> rest,
                 std::vector<Finding>& out) {
  std::vector<uint32_t> rows;
  double bytes = 0;
  for (const Repeats& repeats : rest) {
    rows.insert(rows.end(), repeats.rows.begin(), repeats.rows.end());
    bytes += repeats.bytes;
  }
  std::sort(rows.begin(), rows.end());
  const std::string tensors = show_count(rest.size()) + (rest.size() == 1 ? " tensor" : " tensors");
  const std::string device = device_text(input.timeline.trace(), view.device);
  Finding finding;
  fill_redundant(input, view, rows, finding);
  finding.fix = {"keep_resident", 0, false};
  finding.facts.push_back({"tensors", static_cast<double>(rest.size()), Unit::none});
  estimate(input, finding);
  finding.title = show_count(rest.size()) + " more " + (rest.size() == 1 ? "tensor" : "tensors") +
                  " sent to " + device + " again unchanged, " + show_bytes(bytes);
  finding.advice = "Another " + tensors + " went to " + device + " " + show_count(rows.size()) +
                   " times more than needed without changing. Keep them on the device: " +
                   bytes_per_step(input, bytes) + " less traffic. " + own_writes(input) +
                   show_gain(input, finding);
  out.push_back(std::move(finding));
}

// Also before the window: what warm-up steps have sent need not be sent again.
void find_repeats(const RuleInput& input, const DeviceView& view, std::vector<Finding>& out) {
  const Work& work = input.timeline.trace().work;
  Residents residents(input);
  const auto [begin, end] = std::equal_range(work.device.begin(), work.device.end(), view.device);
  for (auto at = begin; at != end; ++at) {
    const auto row = static_cast<uint32_t>(at - work.device.begin());
    if (static_cast<WorkKind>(work.kind[row]) != WorkKind::copy ||
        (work.flags[row] & kExcluded) != 0) {
      continue;
    }
    const CopyRow copy = copy_row(input, row);
    if (copy.kind != CopyKind::host_to_device && copy.kind != CopyKind::device_to_host) continue;
    if (static_cast<double>(copy.bytes) < input.limits.t6_min_bytes) continue;
    residents.see(copy);
  }
  const std::vector<Repeats> all = residents.take();
  const size_t named = std::min(all.size(), most_findings(input, kMostTensors));
  for (size_t k = 0; k < named; ++k) report_tensor(input, view, all[k], out);
  if (all.size() > named) report_rest(input, view, std::span(all).subspan(named), out);
}

}  // namespace

void find_redundant(const RuleInput& input, std::vector<Finding>& out) {
  for (const DeviceView& view : input.timeline.devices()) {
    find_repeats(input, view, out);
    find_fat(input, view, out);
  }
}

}  // namespace mill::prof
