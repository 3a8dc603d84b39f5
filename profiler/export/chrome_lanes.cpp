#include "profiler/export/chrome_lanes.h"

#include <algorithm>
#include <functional>
#include <map>
#include <unordered_map>
#include <unordered_set>

namespace mill::prof {

namespace {

// Numbers that stand for no thread, stream or process of the recording start here.
constexpr uint64_t kOwnNumbers = uint64_t{1} << 20;
constexpr uint64_t kNoNumber = UINT64_MAX;
// Viewers hold the numbers of processes and threads in 32 bits, and take what does not fit for 0.
constexpr uint64_t kMostNumber = UINT32_MAX;

}  // namespace

std::string thread_text(const ThreadInfo& thread) {
  const std::string number = std::to_string(thread.number);
  if (thread.name.empty()) return "thread " + number;
  const bool said = thread.name.find(number) != std::string::npos;
  return said ? thread.name : thread.name + " (thread " + number + ")";
}

uint32_t ChromeTrack::place(Ns start, Ns end) {
  for (uint32_t lane = 0; lane < nesting.size(); ++lane) {
    if (nesting[lane].takes(start, end)) {
      nesting[lane].add(end);
      return lane;
    }
  }
  if (nesting.size() < kNesting) {
    nesting.emplace_back().add(end);
    return static_cast<uint32_t>(nesting.size() - 1);
  }
  auto lane = static_cast<uint32_t>(nesting.size() + flat.size());
  if (!flat.empty() && flat.front().first <= start) {
    std::pop_heap(flat.begin(), flat.end(), std::greater<>());
    lane = flat.back().second;
    flat.back().first = end;
  } else {
    flat.emplace_back(end, lane);
  }
  std::push_heap(flat.begin(), flat.end(), std::greater<>());
  return lane;
}

ChromeLayout::ChromeLayout(const Trace& trace)
    : threads_(trace.threads.size()),
      devices_(trace.devices.size()),
      streams_(trace.streams.size()) {
  std::unordered_set<uint64_t> taken;
  uint64_t next = kOwnNumbers;
  const auto own_number = [&] {
    while (!taken.insert(next).second) ++next;
    return next;
  };
  const auto free_number = [&](uint64_t wanted) {
    return wanted <= kMostNumber && taken.insert(wanted).second ? wanted : own_number();
  };
  // Numbers that can be shown are the recording's; the others take what these leave.
  std::unordered_map<uint64_t, uint64_t> shown;
  for (const ThreadInfo& thread : trace.threads) {
    if (thread.process > kMostNumber) continue;
    taken.insert(thread.process);
    shown.emplace(thread.process, thread.process);
  }
  for (const ThreadInfo& thread : trace.threads) {
    if (thread.process > kMostNumber && !shown.contains(thread.process))
      shown.emplace(thread.process, own_number());
  }
  std::unordered_set<uint64_t> listed;
  for (const ThreadInfo& thread : trace.threads) {
    if (!listed.insert(thread.process).second) continue;
    processes_.push_back(
        {shown.at(thread.process), "process " + std::to_string(thread.process), "CPU"});
  }
  if (processes_.empty()) {
    taken.insert(0);
    processes_.push_back({0, "process 0", "CPU"});
  }
  host_process_ = processes_.front().id;

  for (const ThreadInfo& thread : trace.threads) {
    const uint32_t track = add_track(shown.at(thread.process), thread_text(thread), thread.number);
    tracks_[track].named = !thread.name.empty() || thread.number > kMostNumber;
  }
  unknown_thread_ = add_track(host_process_, "unknown thread", kNoNumber);

  for (const DeviceInfo& device : trace.devices) {
    const std::string number = std::to_string(device.number);
    device_processes_.push_back(free_number(device.number));
    std::string name = "device " + number;
    if (!device.name.empty()) name.append(": ").append(device.name);
    processes_.push_back({device_processes_.back(), std::move(name), "GPU " + number});
  }
  device_processes_.push_back(free_number(kOwnNumbers));
  processes_.push_back({device_processes_.back(), "unknown device", "GPU"});

  first_stream_ = static_cast<uint32_t>(tracks_.size());
  for (const StreamInfo& stream : trace.streams) {
    std::string name = "stream " + std::to_string(stream.number);
    if (!stream.name.empty()) name += " (" + stream.name + ")";
    add_track(device_process(stream.device), std::move(name), stream.number);
  }
  first_no_stream_ = static_cast<uint32_t>(tracks_.size());
  for (const uint64_t process : device_processes_) add_track(process, "unknown stream", kNoNumber);
  first_managed_ = static_cast<uint32_t>(tracks_.size());
  for (const uint64_t process : device_processes_) add_track(process, "managed memory", kNoNumber);
}

uint32_t ChromeLayout::add_track(uint64_t process, std::string name, uint64_t number) {
  if (number > kMostNumber) number = kNoNumber;
  tracks_.push_back({.process = process, .name = std::move(name), .number = number});
  return static_cast<uint32_t>(tracks_.size() - 1);
}

uint32_t ChromeLayout::thread_track(uint32_t thread) const {
  return thread < threads_ ? thread : unknown_thread_;
}

uint64_t ChromeLayout::device_process(uint32_t device) const {
  return device_processes_[device < devices_ ? device : devices_];
}

uint32_t ChromeLayout::stream_track(uint32_t device, uint32_t stream) const {
  if (stream < streams_ && tracks_[first_stream_ + stream].process == device_process(device))
    return first_stream_ + stream;
  return first_no_stream_ + static_cast<uint32_t>(device < devices_ ? device : devices_);
}

uint32_t ChromeLayout::managed_track(uint32_t device) const {
  return first_managed_ + static_cast<uint32_t>(device < devices_ ? device : devices_);
}

void ChromeLayout::place(std::vector<ChromeEvent>& events) {
  for (ChromeEvent& event : events) {
    if (event.track < tracks_.size())
      event.lane = tracks_[event.track].place(event.start, event.end);
  }

  std::map<uint64_t, std::unordered_set<uint64_t>> taken;
  for (const ChromeTrack& track : tracks_) {
    if (track.number != kNoNumber) taken[track.process].insert(track.number);
  }
  std::map<uint64_t, uint64_t> next;
  for (ChromeTrack& track : tracks_) {
    const size_t lanes = track.nesting.size() + track.flat.size();
    for (size_t lane = 0; lane < lanes; ++lane) {
      if (lane == 0 && track.number != kNoNumber) {
        track.lane_ids.push_back(track.number);
        continue;
      }
      uint64_t& number = next.try_emplace(track.process, kOwnNumbers).first->second;
      while (!taken[track.process].insert(number).second) ++number;
      track.lane_ids.push_back(number);
    }
  }
}

}  // namespace mill::prof
