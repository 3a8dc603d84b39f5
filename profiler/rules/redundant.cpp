// T6: transfers of what the device has already. T9: transfers in a wider type than is used. Section
// 3.2 of the design notes.
#include <algorithm>
#include <array>
#include <map>
#include <string_view>
#include <tuple>
#include <unordered_map>
#include <utility>

#include "profiler/rules/copies.h"

namespace mill::prof {

namespace {

constexpr size_t kMostTensors = 10;

Ns host_start(const CopyRow& copy) {
  return copy.called.end > copy.called.begin ? copy.called.begin : copy.at.begin;
}

// ---- T6 -----------------------------------------------------------------------------------------

// What was sent: two transfers with the same content move the same bytes.
struct Content {
  uint64_t id = 0;  // of a tensor, or of the storage that was copied from; 0: not known
  bool from_storage = false;
  uint64_t offset = 0;
  uint64_t version = 0;
  uint64_t bytes = 0;
  friend auto operator<=>(const Content&, const Content&) = default;
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
  const Ns free = std::max<Ns>(window.length() - view.kernel.length(), 0);
  finding.saving.upper = std::min(IntervalSet(std::move(all)).length(), free);
  evidence.give(TableId::work, finding);
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
  finding.advice +=
      ", with " + show_count(ops) + " ops between the first and the last. Keep it on the device: " +
      bytes_per_step(input, repeats.bytes) + " less traffic. " + show_gain(input, finding);
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
                   bytes_per_step(input, bytes) + " less traffic. " + show_gain(input, finding);
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

// ---- T9 -----------------------------------------------------------------------------------------

struct Type {
  const char* name;
  uint32_t bytes;
};
// By number: enum mill_dtype_values of millrace/types.h.
constexpr std::array<Type, 18> kTypes = {{{"", 0},
                                          {"bool", 1},
                                          {"u8", 1},
                                          {"i8", 1},
                                          {"u16", 2},
                                          {"i16", 2},
                                          {"u32", 4},
                                          {"i32", 4},
                                          {"u64", 8},
                                          {"i64", 8},
                                          {"f16", 2},
                                          {"bf16", 2},
                                          {"f32", 4},
                                          {"f64", 8},
                                          {"f8e4m3", 1},
                                          {"f8e5m2", 1},
                                          {"c64", 8},
                                          {"c128", 16}}};

struct Cast {
  uint32_t op = kNoRow;
  Type from{};
  Type to{};
};

// A cast to a narrower type; op is kNoRow for what is none.
Cast narrowing_cast(const Trace& trace, uint32_t op) {
  const uint32_t to = trace.ops.dtypes[op] & 0xff;
  const uint32_t from = (trace.ops.dtypes[op] >> 8) & 0xff;
  if (to >= kTypes.size() || from >= kTypes.size()) return {};
  if (kTypes[to].bytes == 0 || kTypes[to].bytes >= kTypes[from].bytes) return {};
  return {op, kTypes[from], kTypes[to]};
}

// Ops named "cast", and ops that launched a kernel whose name says so.
std::vector<Cast> narrowing_casts(const Trace& trace, const DeviceView& view) {
  std::vector<uint32_t> ops;
  const uint32_t name = trace.strings.find("cast");
  for (uint32_t op = 0; op < trace.ops.size(); ++op) {
    const uint32_t device = trace.ops.device[op];
    if (trace.ops.name[op] == name && (device == kNoRow || device == view.device)) {
      ops.push_back(op);
    }
  }
  std::unordered_map<uint32_t, bool> says_cast;
  for (const uint32_t row : view.kernels) {
    const uint32_t op = trace.work.op[row];
    if (op == kNoRow) continue;
    const auto [known, is_new] = says_cast.emplace(trace.work.name[row], false);
    if (is_new) {
      known->second =
          trace.strings.text(trace.work.name[row]).find("cast") != std::string_view::npos;
    }
    if (known->second) ops.push_back(op);
  }
  std::sort(ops.begin(), ops.end());
  ops.erase(std::unique(ops.begin(), ops.end()), ops.end());
  std::vector<Cast> casts;
  for (const uint32_t op : ops) {
    if (const Cast cast = narrowing_cast(trace, op); cast.op != kNoRow) casts.push_back(cast);
  }
  return casts;
}

// Bytes that a cast reads when it reads and writes op.bytes in all; 0: they do not fit the types.
uint64_t bytes_read(const Trace& trace, const Cast& cast) {
  const uint64_t both = cast.from.bytes + cast.to.bytes;
  const uint64_t bytes = trace.ops.bytes[cast.op];
  return bytes % both == 0 ? bytes / both * cast.from.bytes : 0;
}

struct Match {
  uint32_t row = kNoRow;
  Cast cast;
};

// Each cast with the last copy before it whose whole tensor it reads: the same tensor or storage,
// or, as an op names only what it makes, as many bytes as the cast reads.
std::vector<Match> match_casts(const RuleInput& input, const DeviceView& view) {
  const Trace& trace = input.timeline.trace();
  const std::vector<Cast> casts = narrowing_casts(trace, view);
  std::vector<Match> matches;
  if (casts.empty()) return matches;
  std::vector<std::pair<Ns, CopyRow>> copies;
  for (const uint32_t row : view.copies) {
    const CopyRow copy = copy_row(input, row);
    if (copy.kind != CopyKind::host_to_device || copy.bytes == 0 ||
        static_cast<double>(copy.bytes) < input.limits.t9_min_bytes) {
      continue;
    }
    copies.emplace_back(host_start(copy), copy);
  }
  std::stable_sort(copies.begin(), copies.end(),
                   [](const auto& a, const auto& b) { return a.first < b.first; });

  enum class By : uint8_t { tensor, storage, bytes };
  std::map<std::pair<By, uint64_t>, size_t> last;
  std::vector<bool> used(copies.size(), false);
  size_t next = 0;
  for (const Cast& cast : casts) {  // by start, as Ops is
    const Ns start = trace.ops.start[cast.op];
    for (; next < copies.size() && copies[next].first <= start; ++next) {
      const CopyRow& copy = copies[next].second;
      const uint32_t link = trace.work.copy[copy.row];
      uint64_t tensor = trace.work.tensor[copy.row];
      uint64_t storage = trace.work.storage[copy.row];
      if (link != kNoRow && tensor == 0) tensor = trace.copies.tensor[link];
      if (link != kNoRow && storage == 0) storage = trace.copies.storage[link];
      if (tensor != 0) last[{By::tensor, tensor}] = next;
      if (storage != 0) last[{By::storage, storage}] = next;
      last[{By::bytes, copy.bytes}] = next;
    }
    const uint64_t read = bytes_read(trace, cast);
    const std::array<std::pair<By, uint64_t>, 3> keys = {{{By::tensor, trace.ops.tensor[cast.op]},
                                                          {By::storage, trace.ops.storage[cast.op]},
                                                          {By::bytes, read}}};
    for (const auto& key : keys) {
      if (key.second == 0) continue;
      const auto found = last.find(key);
      if (found == last.end() || used[found->second]) continue;
      const CopyRow& copy = copies[found->second].second;
      const bool whole = read == 0 ? trace.ops.bytes[cast.op] == 0 : read == copy.bytes;
      if (!whole || input.timeline.step_at(copy.at.begin) != input.timeline.step_at(start)) {
        continue;
      }
      used[found->second] = true;
      matches.push_back({copy.row, cast});
      break;
    }
  }
  return matches;
}

void find_fat(const RuleInput& input, const DeviceView& view, std::vector<Finding>& out) {
  const std::vector<Match> matches = match_casts(input, view);
  if (matches.empty()) return;
  const Trace& trace = input.timeline.trace();
  const double host_rate = std::max(input.links.host_copy_bytes_per_s, 1.0);
  Lines lines(input, view.device);
  Finding finding;
  EvidenceList evidence;
  std::vector<uint32_t> rows;
  std::map<std::tuple<std::string_view, std::string_view>, double> types;
  double sent = 0;
  double needed = 0;
  double lost = 0;
  LinkLine line;
  for (const Match& match : matches) {
    const CopyRow copy = copy_row(input, match.row);
    const auto bytes = static_cast<double>(copy.bytes);
    const double narrow = bytes * match.cast.to.bytes / match.cast.from.bytes;
    const auto length = static_cast<double>(copy.length);
    // The share of the time that is not the copy's fixed cost goes with the bytes.
    double less = length * (1 - narrow / bytes);
    line = lines.of(copy.kind, copy.memory);
    const double wide_ns = line.time_ns(copy.bytes);
    const double narrow_ns = line.time_ns(static_cast<uint64_t>(narrow));
    if (wide_ns >= 0 && narrow_ns >= 0) less = std::min(less, wide_ns - narrow_ns);
    less = std::max(less, 0.0);
    rows.push_back(match.row);
    evidence.add(match.row, less);
    types[{match.cast.from.name, match.cast.to.name}] += bytes;
    sent += bytes;
    needed += narrow;
    lost += less;
    finding.plan.work_duration.emplace_back(match.row, whole_ns(length - less));
    finding.plan_lower.work_duration.emplace_back(match.row, whole_ns(length - less));
    if (copy.call != kNoRow) {  // at worst the calling thread converts
      finding.plan_lower.call_duration.emplace_back(
          copy.call, whole_ns(static_cast<double>(copy.call_length) + bytes / host_rate * 1e9));
    }
  }
  finding.rule = RuleId::T9;
  finding.device = view.device;
  finding.window = input.timeline.window();
  finding.link_source = line.source;
  finding.saving.upper = whole_ns(lost);
  finding.fix = {"send_narrow", needed / sent, false};
  evidence.give(TableId::work, finding);
  finding.facts = {{"copies", static_cast<double>(rows.size()), Unit::none},
                   {"bytes", sent, Unit::bytes},
                   {"bytes_needed", needed, Unit::bytes},
                   {"bytes_saved", sent - needed, Unit::bytes},
                   {"lost_ns", lost, Unit::ns},
                   {"bytes_per_s", line.bytes_per_s, Unit::none}};
  estimate(input, finding);

  const auto main_types =
      std::max_element(types.begin(), types.end(), [](const auto& a, const auto& b) {
        return a.second < b.second;
      })->first;
  const std::string from(std::get<0>(main_types));
  const std::string to(std::get<1>(main_types));
  const std::string also = types.size() > 1 ? " and other types" : "";
  const std::string askers = askers_text(trace, rows);
  finding.title = copies_text(rows.size()) + " to " + device_text(trace, view.device) + " sent " +
                  from + " that was cast to " + to + also +
                  " at once: " + show_bytes(sent - needed) + " too many";
  finding.advice = copies_text(rows.size()) + " brought " + show_bytes(sent) + " as " + from +
                   also + ", and the next thing done with all of it was a cast to " + to + also +
                   ".";
  if (!askers.empty()) finding.advice += " Asked for by " + askers + ".";
  finding.advice += " Convert where the data is made and send " + to + ": " +
                    bytes_per_step(input, sent - needed) + " less, taken as time " +
                    (line.source == LinkSource::none ? std::string("in proportion to the bytes")
                                                     : source_text(line)) +
                    ". " + show_gain(input, finding);
  out.push_back(std::move(finding));
}

}  // namespace

void find_redundant(const RuleInput& input, std::vector<Finding>& out) {
  for (const DeviceView& view : input.timeline.devices()) {
    find_repeats(input, view, out);
    find_fat(input, view, out);
  }
}

}  // namespace mill::prof
