// A session: a thread that takes records out of the engine's rings and the devices' timelines, or a
// trace that was read from a file.
#pragma once

#include <atomic>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "profiler/session/analysis.h"
#include "profiler/session/budget.h"
#include "profiler/session/engine.h"
#include "profiler/session/record_store.h"

namespace mill::prof {

class Session {
 public:
  virtual ~Session() = default;
  virtual mill_status start(std::string* why) = 0;
  virtual mill_status stop(std::string* why) = 0;
  virtual void device_added() {}
  virtual void overhead(mill_prof_overhead_info* info) = 0;
  virtual std::unique_ptr<const Analysis> snapshot() = 0;

  // Thresholds by name, and figures of the link: (pinned|pageable)_to_(device|host)_bytes_per_s
  // and ..._latency_ns, host_copy_bytes_per_s, stream_bytes_per_s.
  bool set(const std::string& name, double value, std::string* why);
  bool read_calibration(const std::string& path, std::string* why, bool* readable);

 protected:
  AnalysisOptions options_;
  std::unique_ptr<LinkModel> calibration_;  // what options_ points to; null: none

 private:
  std::map<std::string, double> host_figures_;  // given by hand
};

struct Used {
  uint64_t cpu_ns = 0;
  int64_t minor_faults = 0;
  int64_t major_faults = 0;
  Used operator+(const Used& other) const {
    return {cpu_ns + other.cpu_ns, minor_faults + other.minor_faults,
            major_faults + other.major_faults};
  }
};

class LiveSession final : public Session {
 public:
  LiveSession(const mill_profiler_host& host, mill_context* context, const mill_prof_opts& opts);
  ~LiveSession() override;

  mill_status start(std::string* why) override;
  mill_status stop(std::string* why) override;
  void device_added() override;
  void overhead(mill_prof_overhead_info* info) override;
  std::unique_ptr<const Analysis> snapshot() override;

 private:
  struct Copy;
  void run();
  // Watches devices that were not there before.
  void meet_devices();
  // The first device whose time is modelled and that does something gives the session its clock.
  void follow(uint16_t clock);
  // How many records came. Takes the store's lock. Without memory they are lost, and counted.
  size_t drain_once();
  void drain_into_store();
  void tell_budget(const mill_trace_record& step);
  void sample(Ns now);
  void control();

  Engine engine_;
  const mill_prof_opts opts_;
  std::thread thread_;
  std::atomic<bool> stopping_ = false;

  std::mutex mutex_;  // what follows
  std::unique_ptr<RecordStore> store_;
  uint32_t met_ = 0;  // devices that were looked at
  std::vector<uint32_t> watched_;
  std::unique_ptr<BudgetController> budget_;
  std::vector<Interval> recorded_;
  bool holes_ = false;  // some of the time since a start was not recorded
  bool recording_ = false;
  bool modelled_ = false;
  bool running_ = false;
  uint64_t lost_ = 0;
  uint64_t came_ = 0;    // records of all kinds that were taken,
  uint64_t stored_ = 0;  // and those that the store has seen
  Ns next_sample_ = 0;
  double processors_ = 0;  // 0: not asked for yet
  Used own_;               // by the session's thread
  int own_thread_ = 0;     // its id
  uint64_t samples_ = 0;
  Ns started_ = 0;
  Ns ran_ = 0;  // in earlier starts
};

// Of a file.
class FileSession final : public Session {
 public:
  FileSession(Trace trace, const mill_prof_opts& opts);
  mill_status start(std::string* why) override;
  mill_status stop(std::string* why) override;
  void overhead(mill_prof_overhead_info* info) override;
  std::unique_ptr<const Analysis> snapshot() override;

 private:
  const Trace trace_;
};

// What two readings of the clock and the writing of one record take here, in nanoseconds: measured
// by the first call.
double record_ns();

}  // namespace mill::prof
