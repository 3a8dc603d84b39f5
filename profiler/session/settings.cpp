// What can be set of a session: limits of rules, and figures of the link.
#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <cstring>

#include "profiler/session/session.h"

namespace mill::prof {

namespace {

constexpr size_t kMostCalibration = size_t{16} << 20;  // bytes; more than any is

struct LinkFigure {
  const char* name;
  CopyKind kind;
  Memory memory;
  bool latency;
};
constexpr std::array kLinkFigures = {
    LinkFigure{"pinned_to_device_bytes_per_s", CopyKind::host_to_device, Memory::pinned, false},
    LinkFigure{"pinned_to_device_latency_ns", CopyKind::host_to_device, Memory::pinned, true},
    LinkFigure{"pinned_to_host_bytes_per_s", CopyKind::device_to_host, Memory::pinned, false},
    LinkFigure{"pinned_to_host_latency_ns", CopyKind::device_to_host, Memory::pinned, true},
    LinkFigure{"pageable_to_device_bytes_per_s", CopyKind::host_to_device, Memory::pageable, false},
    LinkFigure{"pageable_to_device_latency_ns", CopyKind::host_to_device, Memory::pageable, true},
    LinkFigure{"pageable_to_host_bytes_per_s", CopyKind::device_to_host, Memory::pageable, false},
    LinkFigure{"pageable_to_host_latency_ns", CopyKind::device_to_host, Memory::pageable, true},
};

struct HostFigure {
  const char* name;
  double LinkModel::*value;
};
constexpr std::array kHostFigures = {
    HostFigure{"host_copy_bytes_per_s", &LinkModel::host_copy_bytes_per_s},
    HostFigure{"stream_bytes_per_s", &LinkModel::stream_bytes_per_s},
};

// As few single changes as possible between two names.
size_t distance(const std::string& a, const std::string& b) {
  std::vector<size_t> row(b.size() + 1);
  for (size_t k = 0; k <= b.size(); ++k) row[k] = k;
  for (size_t i = 1; i <= a.size(); ++i) {
    size_t diagonal = row[0];
    row[0] = i;
    for (size_t k = 1; k <= b.size(); ++k) {
      const size_t above = row[k];
      row[k] = std::min({above + 1, row[k - 1] + 1, diagonal + (a[i - 1] == b[k - 1] ? 0u : 1u)});
      diagonal = above;
    }
  }
  return row[b.size()];
}

}  // namespace

bool Session::set(const std::string& name, double value, std::string* why) {
  if (set_threshold(options_.limits, name, value)) return true;
  const auto model = [&]() -> LinkModel& {
    if (!calibration_) calibration_ = std::make_unique<LinkModel>();
    options_.calibration = calibration_.get();
    return *calibration_;
  };
  for (const LinkFigure& figure : kLinkFigures) {
    if (name != figure.name) continue;
    LinkLine line;
    for (const LinkLine& known : model().lines()) {
      if (known.kind == figure.kind && known.memory == figure.memory &&
          known.source == LinkSource::user)
        line = known;
    }
    line.device = LinkModel::kAnyDevice;
    line.kind = figure.kind;
    line.memory = figure.memory;
    line.source = LinkSource::user;
    (figure.latency ? line.alpha_ns : line.bytes_per_s) = value;
    model().set(line);
    return true;
  }
  for (const HostFigure& figure : kHostFigures) {
    if (name != figure.name) continue;
    model().*figure.value = value;
    host_figures_[figure.name] = value;
    return true;
  }
  std::string nearest;
  size_t least = SIZE_MAX;
  const auto look = [&](const char* known) {
    const size_t far = distance(name.substr(0, 64), known);
    if (far < least) {
      least = far;
      nearest = known;
    }
  };
  for (const ThresholdInfo& info : threshold_list()) look(info.name);
  for (const LinkFigure& figure : kLinkFigures) look(figure.name);
  for (const HostFigure& figure : kHostFigures) look(figure.name);
  *why =
      "there is no setting \"" + name.substr(0, 64) + "\"; the nearest name is \"" + nearest + "\"";
  return false;
}

bool Session::read_calibration(const std::string& path, std::string* why, bool* readable) {
  // Not a stream, which takes running out of memory for the end of the file.
  const std::unique_ptr<std::FILE, int (*)(std::FILE*)> file(std::fopen(path.c_str(), "rbe"),
                                                             std::fclose);
  *readable = file != nullptr;
  std::string text;
  if (file) {
    std::array<char, 4096> piece;
    for (size_t n = 0; (n = std::fread(piece.data(), 1, piece.size(), file.get())) > 0;) {
      text.append(piece.data(), n);
      if (text.size() > kMostCalibration) break;
    }
    *readable = std::ferror(file.get()) == 0;
  }
  if (!*readable) {
    *why = "\"" + path + "\" cannot be read: " + strerrordesc_np(errno != 0 ? errno : EIO);
    return false;
  }
  auto model = std::make_unique<LinkModel>();
  if (!LinkModel::read(text, model.get(), why)) {
    *why = "\"" + path + "\": " + *why;
    return false;
  }
  // What was given by hand goes before a file, whichever came first.
  if (calibration_) {
    for (const LinkLine& line : calibration_->lines()) {
      if (line.source == LinkSource::user) model->set(line);
    }
  }
  for (const HostFigure& figure : kHostFigures) {
    const auto given = host_figures_.find(figure.name);
    if (given != host_figures_.end()) (*model).*figure.value = given->second;
  }
  calibration_ = std::move(model);
  options_.calibration = calibration_.get();
  return true;
}

}  // namespace mill::prof
