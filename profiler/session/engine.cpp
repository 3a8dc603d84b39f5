#include "profiler/session/engine.h"

#include <fcntl.h>
#include <unistd.h>

#include <cstdio>
#include <cstring>

namespace mill::prof {

std::string Engine::engine_text(uint32_t id) {
  std::string text(1024, '\0');
  uint64_t size = 0;
  if (host_.trace_string(context_, id, text.data(), text.size(), &size, nullptr) != MILL_OK)
    return {};
  text.resize(std::strlen(text.c_str()));
  return text;
}

std::string Engine::op_name(int32_t op) {
  char text[128] = "";
  host_.op_name(context_, op, text, sizeof text);
  return text;
}

std::string Engine::thread_name(uint32_t thread) {
  char path[64];
  std::snprintf(path, sizeof path, "/proc/self/task/%u/comm", thread);
  const int file = open(path, O_RDONLY | O_CLOEXEC);
  if (file < 0) return {};
  char text[32] = "";
  const ssize_t n = read(file, text, sizeof text - 1);
  close(file);
  if (n <= 0) return {};
  std::string name(text, static_cast<size_t>(n));
  while (!name.empty() && name.back() == '\n') name.pop_back();
  return name;
}

std::vector<DeviceInfo> Engine::devices() const {
  std::vector<DeviceInfo> out;
  uint32_t n = 0;
  if (host_.device_count(context_, &n, nullptr) != MILL_OK) return out;
  for (uint32_t k = 0; k < n; ++k) {
    DeviceInfo device;
    device.number = k;
    device.kind = host_.device_inline(context_, k) ? DeviceKind::cpu : DeviceKind::accelerator;
    mill_device_info info{};
    info.size = sizeof info;
    info.type = MILL_STRUCT_DEVICE_INFO;
    if (host_.device_query(context_, k, &info, nullptr) == MILL_OK) {
      device.name = info.name;
      device.description = info.description;
      device.memory_bytes = info.memory_bytes;
      device.host_threads = info.threads;
    }
    if (const mill_device_limits* limits = host_.device_limits(context_, k);
        limits && device.kind == DeviceKind::accelerator) {
      device.modelled = limits->modelled != 0;
      device.copy_engines = limits->copy_engines;
      device.memory_bytes_per_s = limits->memory_bytes_per_second;
      device.to_device_bytes_per_s = limits->host_to_device_bytes_per_second;
      device.to_host_bytes_per_s = limits->device_to_host_bytes_per_second;
    }
    out.push_back(std::move(device));
  }
  return out;
}

mill_status Engine::set_mask(uint64_t mask, std::string* why) const {
  const mill_status status = host_.session_mask(context_, mask);
  if (status != MILL_OK && why)
    *why = "the trace's mask could not be set, status " + std::to_string(status);
  return status;
}

bool Engine::has_timeline(uint32_t device) const {
  uint64_t n = 0;
  return host_.device_drain(context_, device, nullptr, 0, &n, nullptr, nullptr) !=
         MILL_E_UNSUPPORTED;
}

bool Engine::watch(uint32_t device, bool on, std::string* why) const {
  const mill_status status = host_.device_timeline(
      context_, device, on ? MILL_TIMELINE_WORK | MILL_TIMELINE_CALLS : 0u, nullptr);
  if (status == MILL_OK) return true;
  if (why) {
    *why = status == MILL_E_UNSUPPORTED
               ? "the device keeps no timeline by itself"
               : "the timeline could not be switched, status " + std::to_string(status);
  }
  return false;
}

std::span<const mill_trace_record> Engine::take(uint64_t* lost) const {
  if (!records_) records_.reset(new mill_trace_record[kPiece]);
  uint32_t n = 0;
  uint64_t gone = 0;
  host_.trace_drain(context_, records_.get(), kPiece, &n, &gone, nullptr);
  *lost += gone;
  return {records_.get(), n};
}

std::span<const mill_timeline_record> Engine::take(uint32_t device, uint64_t* lost) const {
  if (!timeline_) timeline_.reset(new mill_timeline_record[kPiece]);
  uint64_t n = 0;
  uint64_t gone = 0;
  const mill_status status =
      host_.device_drain(context_, device, timeline_.get(), kPiece, &n, &gone, nullptr);
  *lost += gone;
  return {timeline_.get(), status == MILL_OK ? n : 0};
}

bool Engine::memory(uint32_t device, mill_memory_stats* out) const {
  *out = {};
  out->size = sizeof *out;
  out->type = MILL_STRUCT_MEMORY_STATS;
  return host_.memory_stats_query(context_, device, out, nullptr) == MILL_OK;
}

Ns Engine::now() const {
  uint64_t now = 0;
  host_.trace_clock(context_, &now, nullptr);
  return static_cast<Ns>(now);
}

}  // namespace mill::prof
