#include "profiler/timeline/link_model.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <tuple>
#include <utility>

namespace mill::prof {

namespace {

// What one PCIe lane carries each way after line coding, of generation 3; each further generation
// doubles it, each earlier one (8b/10b coded) has 500 and 250 MB/s.
constexpr double kLaneGeneration3 = 984.6e6;
constexpr double kPractical = 0.85;      // after packet headers and flow control
constexpr uint64_t kLarge = 1'000'000;   // copies whose rate says what the link can do
constexpr uint64_t kTelling = 64 << 10;  // below it, a copy says nothing about rates
constexpr double kOutlier = 0.5;         // of a copy's expected time: as much off is left out
constexpr int kRounds = 4;

struct Sample {
  double bytes;
  double ns;
};

double quantile(std::vector<double> values, double at) {
  if (values.empty()) return 0;
  const double position = at * static_cast<double>(values.size() - 1);
  const auto low = static_cast<size_t>(position);
  std::nth_element(values.begin(), values.begin() + static_cast<std::ptrdiff_t>(low), values.end());
  const double below = values[low];
  if (low + 1 >= values.size()) return below;
  const double above =
      *std::min_element(values.begin() + static_cast<std::ptrdiff_t>(low) + 1, values.end());
  return below + (above - below) * (position - static_cast<double>(low));
}

// t = alpha + slope * b with the least squares of relative errors, so that a copy of 4 bytes counts
// as much as one of 100 MB. False where the sizes do not tell the two apart.
bool fit_line(const std::vector<Sample>& samples, double* alpha, double* slope) {
  double w = 0;
  double wb = 0;
  double wbb = 0;
  double wt = 0;
  double wbt = 0;
  for (const Sample& s : samples) {
    const double weight = 1 / (s.ns * s.ns);
    w += weight;
    wb += weight * s.bytes;
    wbb += weight * s.bytes * s.bytes;
    wt += weight * s.ns;
    wbt += weight * s.bytes * s.ns;
  }
  const double determinant = w * wbb - wb * wb;
  if (!(determinant > 1e-9 * w * wbb)) return false;
  *slope = (w * wbt - wb * wt) / determinant;
  *alpha = (wt - *slope * wb) / w;
  return std::isfinite(*slope) && std::isfinite(*alpha);
}

// Fills alpha and rates of a line.
void fit(const std::vector<Sample>& samples, LinkLine* line) {
  std::vector<double> large_rates;
  std::vector<double> rates;
  double largest = 0;
  for (const Sample& s : samples) {
    rates.push_back(s.bytes / s.ns * 1e9);
    if (s.bytes >= static_cast<double>(kLarge)) large_rates.push_back(rates.back());
    largest = std::max(largest, s.bytes);
  }
  line->copies = static_cast<uint32_t>(std::min<size_t>(samples.size(), UINT32_MAX));
  if (largest < static_cast<double>(kTelling)) {
    // All of the time is cost per copy, as far as anybody can tell.
    std::vector<double> times;
    times.reserve(samples.size());
    for (const Sample& s : samples) times.push_back(s.ns);
    line->alpha_ns = quantile(std::move(times), 0.1);
    return;
  }
  double alpha = 0;
  double slope = 0;
  std::vector<Sample> kept = samples;
  bool found = false;
  for (int round = 0; round < kRounds; ++round) {
    double a = 0;
    double s = 0;
    if (!fit_line(kept, &a, &s) || s <= 0) break;
    alpha = std::max(a, 0.0);
    slope = s;
    found = true;
    std::vector<Sample> nearer;
    for (const Sample& one : samples) {
      const double expected = alpha + slope * one.bytes;
      if (std::fabs(one.ns - expected) <= kOutlier * expected) nearer.push_back(one);
    }
    if (nearer.size() == kept.size() || nearer.size() * 2 < samples.size()) break;
    kept = std::move(nearer);
  }
  const double fast = quantile(large_rates.empty() ? rates : large_rates, 0.95);
  double rate = found ? 1e9 / slope : fast;
  // The link can do what it has done.
  if (!large_rates.empty()) rate = std::max(rate, fast);
  line->alpha_ns = alpha;
  line->bytes_per_s = rate;
  std::vector<double> low;
  const double from = large_rates.empty() ? static_cast<double>(kTelling) : double{kLarge};
  for (const Sample& s : samples) {
    if (s.bytes >= from && s.ns > alpha) low.push_back(s.bytes / (s.ns - alpha) * 1e9);
  }
  line->bytes_per_s_low = low.empty() ? rate : std::min(rate, quantile(std::move(low), 0.1));
}

// Copies that share something to move over: the link between host and device, the device's own
// memory, or the way to another device.
enum class Way : uint8_t { none, link, memory, peer };

Way way_of(CopyKind kind) {
  switch (kind) {
    case CopyKind::host_to_device:
    case CopyKind::device_to_host: return Way::link;
    case CopyKind::on_device: return Way::memory;
    case CopyKind::peer: return Way::peer;
    default: return Way::none;
  }
}

bool crosses(CopyKind kind) {
  return way_of(kind) == Way::link;
}

using LineKey = std::tuple<uint32_t, uint8_t, uint8_t>;  // device, copy kind, host memory

std::map<LineKey, std::vector<Sample>> samples_of(const Trace& trace) {
  const Work& work = trace.work;
  struct Copy {
    Ns start;
    Ns end;
    uint32_t row;
  };
  std::map<std::pair<uint32_t, Way>, std::vector<Copy>> by_way;
  for (uint32_t row = 0; row < work.size(); ++row) {
    const Way way = way_of(static_cast<CopyKind>(work.copy_kind[row]));
    if (work.kind[row] != static_cast<uint8_t>(WorkKind::copy) || way == Way::none) continue;
    if ((work.flags[row] & kExcluded) || work.end[row] <= work.start[row]) continue;
    if (work.device[row] >= trace.devices.size()) continue;
    by_way[{work.device[row], way}].push_back({work.start[row], work.end[row], row});
  }
  std::map<LineKey, std::vector<Sample>> samples;
  for (auto& [key, copies] : by_way) {
    std::sort(copies.begin(), copies.end(), [](const Copy& a, const Copy& b) {
      return std::tie(a.start, a.end, a.row) < std::tie(b.start, b.end, b.row);
    });
    Ns before = INT64_MIN;  // the last end of what started before
    for (size_t k = 0; k < copies.size(); ++k) {
      const Copy& copy = copies[k];
      const bool alone =
          before <= copy.start && (k + 1 == copies.size() || copies[k + 1].start >= copy.end);
      before = std::max(before, copy.end);
      const uint32_t row = copy.row;
      if (!alone || work.bytes[row] == 0 || work.copies[row] > 1) continue;
      samples[{work.device[row], work.copy_kind[row], work.host_memory[row]}].push_back(
          {static_cast<double>(work.bytes[row]),
           static_cast<double>(copy.end) - static_cast<double>(copy.start)});
    }
  }
  return samples;
}

double device_rate(const DeviceInfo& device, CopyKind kind) {
  double rate = 0;
  switch (kind) {
    case CopyKind::host_to_device: rate = device.to_device_bytes_per_s; break;
    case CopyKind::device_to_host: rate = device.to_host_bytes_per_s; break;
    case CopyKind::peer: rate = device.peer_bytes_per_s; break;
    // It reads and writes the same memory.
    case CopyKind::on_device: rate = device.memory_bytes_per_s / 2; break;
    default: break;
  }
  return std::isfinite(rate) && rate > 0 ? rate : 0;
}

double topology_rate(const DeviceInfo& device) {
  const uint32_t generation = device.link_generation;
  if (generation == 0 || generation > 8 || device.link_width == 0 || device.link_width > 64)
    return 0;
  double lane = kLaneGeneration3;
  if (generation < 3) {
    lane = generation == 1 ? 250e6 : 500e6;
  } else {
    lane *= static_cast<double>(1u << (generation - 3));
  }
  return lane * device.link_width * kPractical;
}

// Copies between host and device reach what the device or its slot allow only from and to pinned
// memory.
bool has_limit(CopyKind kind, Memory memory) {
  return !crosses(kind) || memory == Memory::pinned;
}

}  // namespace

const char* link_source_name(LinkSource source) {
  switch (source) {
    case LinkSource::none: return "none";
    case LinkSource::user: return "user";
    case LinkSource::calibration: return "calibration";
    case LinkSource::device: return "device";
    case LinkSource::topology: return "topology";
    case LinkSource::trace: return "trace";
  }
  return "none";
}

double LinkLine::time_ns(uint64_t bytes) const {
  if (!(bytes_per_s > 0)) return -1;
  return alpha_ns + static_cast<double>(bytes) / bytes_per_s * 1e9;
}

double LinkLine::time_low_ns(uint64_t bytes) const {
  if (!(bytes_per_s_low > 0)) return time_ns(bytes);
  return alpha_ns + static_cast<double>(bytes) / bytes_per_s_low * 1e9;
}

LinkModel LinkModel::of(const Trace& trace, const LinkModel* calibration) {
  LinkModel model;
  if (calibration) model = *calibration;
  for (const auto& [key, samples] : samples_of(trace)) {
    LinkLine line;
    line.device = trace.devices[std::get<0>(key)].number;
    line.kind = static_cast<CopyKind>(std::get<1>(key));
    line.memory = static_cast<Memory>(std::get<2>(key));
    line.source = LinkSource::trace;
    fit(samples, &line);
    model.add(line);
  }
  std::vector<LinkLine> limits;
  for (const DeviceInfo& device : trace.devices) {
    if (device.kind == DeviceKind::cpu) continue;
    for (const CopyKind kind : {CopyKind::host_to_device, CopyKind::device_to_host,
                                CopyKind::on_device, CopyKind::peer}) {
      LinkLine line;
      line.device = device.number;
      line.kind = kind;
      line.memory = crosses(kind) ? Memory::pinned : Memory::device;
      line.bytes_per_s = device_rate(device, kind);
      line.source = LinkSource::device;
      if (line.bytes_per_s > 0) limits.push_back(line);
      line.bytes_per_s = crosses(kind) ? topology_rate(device) : 0;
      line.source = LinkSource::topology;
      if (line.bytes_per_s > 0) limits.push_back(line);
    }
  }
  model.lines_.insert(model.lines_.end(), limits.begin(), limits.end());
  std::stable_sort(model.lines_.begin(), model.lines_.end(),
                   [](const LinkLine& a, const LinkLine& b) { return a.source < b.source; });
  return model;
}

LinkLine LinkModel::line(const Trace& trace, uint32_t device, CopyKind kind, Memory memory) const {
  LinkLine best;
  best.kind = kind;
  best.memory = memory;
  if (device >= trace.devices.size()) return best;
  const DeviceInfo& info = trace.devices[device];
  best.device = info.number;
  // Only copies over the link differ by what kind of memory the host's side is.
  const auto fits = [&](const LinkLine& line) {
    return (line.device == info.number || line.device == kAnyDevice) && line.kind == kind &&
           (line.memory == memory || !crosses(kind));
  };
  const LinkLine* measured = nullptr;
  const LinkLine* back = nullptr;  // the same memory, the other direction
  for (const LinkLine& line : lines_) {
    if (line.source != LinkSource::trace) continue;
    if (fits(line) && !measured) measured = &line;
    const bool other = crosses(kind) && crosses(line.kind) && line.kind != kind;
    if (other && line.device == info.number && line.memory == memory && !back) back = &line;
  }
  // What a copy costs beside its bytes is the driver's and the copy engine's work: nearer to that
  // of a copy the other way than to nothing.
  if (!measured) measured = back;
  if (measured) best.alpha_ns = measured->alpha_ns;  // a cost per copy is known without a rate
  const auto better = [&](const LinkLine& line) {
    if (best.source == LinkSource::none) return true;
    if (line.source != best.source) return line.source < best.source;
    return best.device == kAnyDevice && line.device != kAnyDevice;
  };
  for (const LinkLine& line : lines_) {
    if (line.source == LinkSource::none || !(line.bytes_per_s > 0) || !fits(line)) continue;
    if (!better(line)) continue;
    const double alpha = best.alpha_ns;
    best = line;
    if (line.source == LinkSource::device || line.source == LinkSource::topology)
      best.alpha_ns = measured ? measured->alpha_ns : alpha;
  }
  // A model that was not made from this trace has no lines for its devices.
  const bool known = best.source != LinkSource::none && best.source != LinkSource::trace;
  if (!known && has_limit(kind, memory)) {
    const double limit = device_rate(info, kind);
    const double slot = crosses(kind) ? topology_rate(info) : 0;
    if (limit > 0 || slot > 0) {
      best.bytes_per_s = limit > 0 ? limit : slot;
      best.bytes_per_s_low = 0;
      best.copies = 0;
      best.source = limit > 0 ? LinkSource::device : LinkSource::topology;
      best.alpha_ns = measured ? measured->alpha_ns : 0;
    }
  }
  best.device = info.number;
  best.kind = kind;
  best.memory = memory;
  return best;
}

}  // namespace mill::prof
