// What a copy over a link should take: t(b) = alpha + b / beta for each direction and kind of host
// memory of each device.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "profiler/timeline/trace.h"

namespace mill::prof {

// Best first.
enum class LinkSource : uint8_t {
  none,         // nothing is known
  user,         // given with a what-if
  calibration,  // measured by `millrace prof calibrate`
  device,       // what the device says of its link
  topology,     // link generation x width
  trace         // the fastest copies of the trace itself
};
const char* link_source_name(LinkSource source);

struct LinkLine {
  uint64_t device = 0;  // DeviceInfo::number
  CopyKind kind = CopyKind::unknown;
  Memory memory = Memory::unknown;
  double alpha_ns = 0;
  double bytes_per_s = 0;      // 0: unknown
  double bytes_per_s_low = 0;  // the 10th percentile, for pessimistic estimates; 0: as bytes_per_s
  LinkSource source = LinkSource::none;
  uint32_t copies = 0;  // that it was made from
  // Expected time of `bytes`, -1 when unknown.
  double time_ns(uint64_t bytes) const;
  double time_low_ns(uint64_t bytes) const;  // with bytes_per_s_low
};

class LinkModel {
 public:
  // Lines in order of LinkSource. From a trace: alpha and beta by least squares of the times of the
  // copies that nothing else on the link overlapped, beta no less than the 95th percentile of the
  // rates of copies of 1 MB and more. A line from the trace for pageable memory says nothing of
  // pinned memory and the other way round.
  static LinkModel of(const Trace& trace, const LinkModel* calibration);
  // The JSON file that calibrate writes. False with a sentence in *why.
  static bool read(std::string_view json, LinkModel* out, std::string* why);
  std::string write() const;

  // As the device of a line: every device.
  static constexpr uint64_t kAnyDevice = UINT64_MAX;
  void add(const LinkLine& line) { lines_.push_back(line); }
  // In place of the line of the same device, kind, memory and source.
  void set(const LinkLine& line) {
    for (LinkLine& known : lines_) {
      if (known.device == line.device && known.kind == line.kind && known.memory == line.memory &&
          known.source == line.source) {
        known = line;
        return;
      }
    }
    add(line);
  }
  // The best line; its source is none when there is no figure. Of a direction without a line for
  // pinned memory but with a device limit, that.
  LinkLine line(const Trace& trace, uint32_t device, CopyKind kind, Memory memory) const;
  const std::vector<LinkLine>& lines() const { return lines_; }

  // Costs on the host. From calibration; else these defaults, which are typical of x86 servers.
  double host_copy_bytes_per_s = 8e9;  // between pageable and pinned buffers
  double pin_ns_per_byte = 0.1;        // page-locking, per byte, on top of
  double pin_ns = 100e3;               // ... this once
  double stream_bytes_per_s = 0;       // memory bandwidth of the CPU; 0: unknown
  double graph_launch_ns_per_item = 1000;

 private:
  std::vector<LinkLine> lines_;
};

}  // namespace mill::prof
