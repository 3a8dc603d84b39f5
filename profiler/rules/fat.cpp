// T9: transfers in a wider type than is used. Section 3.2 of the design notes.
#include <algorithm>
#include <array>
#include <map>
#include <string_view>
#include <tuple>
#include <unordered_map>
#include <utility>

#include "profiler/rules/redundant.h"

namespace mill::prof {

namespace {

Ns host_start(const CopyRow& copy) {
  return copy.called.end > copy.called.begin ? copy.called.begin : copy.at.begin;
}

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

// "cast_f16", "vectorized_cast", not "broadcast_add".
bool speaks_of_cast(std::string_view name) {
  constexpr std::string_view kOther = "broadcast";
  for (size_t at = name.find("cast"); at != std::string_view::npos;
       at = name.find("cast", at + 1)) {
    const size_t before = kOther.size() - 4;
    if (at < before || name.substr(at - before, kOther.size()) != kOther) return true;
  }
  return false;
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
      known->second = speaks_of_cast(trace.strings.text(trace.work.name[row]));
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

}  // namespace

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
      finding.plan_lower.before_ask.emplace_back(copy.call, whole_ns(bytes / host_rate * 1e9));
    }
  }
  finding.rule = RuleId::T9;
  finding.device = view.device;
  finding.window = input.timeline.window();
  finding.link_source = line.source;
  finding.saving.upper = whole_ns(lost);
  finding.fix = {"send_narrow", needed / sent, false};
  evidence.give(finding);
  finding.facts = {{"copies", static_cast<double>(rows.size()), Unit::none},
                   {"bytes", sent, Unit::bytes},
                   {"bytes_needed", needed, Unit::bytes},
                   {"bytes_saved", sent - needed, Unit::bytes},
                   {"lost_ns", lost, Unit::ns},
                   {"link_bytes_per_s", line.bytes_per_s, Unit::none}};
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

}  // namespace mill::prof
