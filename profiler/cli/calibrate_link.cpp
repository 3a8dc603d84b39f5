// Times copies between the host and a device through the library. Pageable memory is the command's
// own; pinned memory is what mill_tensor_read_async reads into, which can also be copied from.
#include <algorithm>
#include <chrono>
#include <memory>
#include <optional>
#include <utility>

#include "profiler/cli/calibrate.h"
#include "profiler/cli/figures.h"

namespace mill::cli {

namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point begin) {
  return std::chrono::duration<double>(Clock::now() - begin).count();
}

class LinkBench {
 public:
  LinkBench(const std::string& spec, const CalibrationLimits& limits)
      : limits_(limits), context_(make_context(error_)) {
    check(mill_device_open(context_.get(), spec.data(), spec.size(), &device_, error_), error_);
    auto info = sized<mill_device_info>(MILL_STRUCT_DEVICE_INFO);
    check(mill_device_query(context_.get(), device_, &info, error_), error_);
    figures_.device = info.name;
    figures_.description = info.description;
    if (info.host_memory)
      throw Failure(safe_text(spec) + " shares the host's memory: there is no link to measure");
    // Three tensors of the largest size, and room for others.
    largest_ = limits.largest;
    if (info.memory_bytes > 0) largest_ = std::min(largest_, info.memory_bytes / 8);
    stream_ = make_stream();
    exec_ = make_exec(stream_.get());
    first_ = make_event(stream_.get());
    last_ = make_event(stream_.get());
    find_modelled();
    find_timing();
  }

  LinkFigures run(const Progress& progress) {
    progress("page-locking");
    measure_pinning();
    if (figures_.modelled) measure_host_copy();
    make_pinned();
    pageable_ = std::make_unique<unsigned char[]>(largest_);
    for (const bool pinned : {true, false}) {
      for (const bool to_device : {true, false}) {
        Series series;
        series.to_device = to_device;
        series.pinned = pinned;
        series.timing = timing_;
        if (pinned && !pinned_) {
          series.missing = no_pinned_;
        } else {
          measure(series, progress);
        }
        figures_.series.push_back(std::move(series));
      }
    }
    progress("both directions");
    measure_both();
    return std::move(figures_);
  }

 private:
  StreamHandle make_stream() {
    mill_stream* made = nullptr;
    check(mill_stream_create(context_.get(), device_, &made, error_), error_);
    return StreamHandle(made);
  }
  ExecHandle make_exec(mill_stream* stream) {
    mill_exec* made = nullptr;
    check(mill_exec_create(context_.get(), device_, stream, &made, error_), error_);
    return ExecHandle(made);
  }
  EventHandle make_event(mill_stream* stream) {
    mill_event* made = nullptr;
    check(mill_event_create(stream, &made, error_), error_);
    return EventHandle(made);
  }
  TensorHandle make_tensor(mill_exec* exec, uint64_t bytes) {
    const auto dims = static_cast<int64_t>(bytes);
    mill_tensor* made = nullptr;
    check(mill_tensor_create(exec, MILL_U8, &dims, 1, &made, error_), error_);
    return TensorHandle(made);
  }
  FutureHandle read_async(mill_exec* exec, mill_tensor* tensor) {
    mill_future* made = nullptr;
    check(mill_tensor_read_async(exec, tensor, &made, error_), error_);
    return FutureHandle(made);
  }
  void wait(mill_exec* exec) { check(mill_exec_wait(exec, error_), error_); }

  // The time of whoever waits for the device: its own where it is modelled.
  double now() {
    int64_t ns = 0;
    if (figures_.modelled && mill_device_now(context_.get(), device_, &ns, error_) == MILL_OK)
      return static_cast<double>(ns);
    return std::chrono::duration<double, std::nano>(Clock::now().time_since_epoch()).count();
  }

  // Only a modelled clock jumps by what it is told.
  void find_modelled() {
    constexpr int64_t kSecond = 1000000000;
    int64_t before = 0;
    int64_t after = 0;
    const Clock::time_point begin = Clock::now();
    figures_.modelled = mill_device_now(context_.get(), device_, &before, error_) == MILL_OK &&
                        mill_device_charge(context_.get(), device_, kSecond, error_) == MILL_OK &&
                        mill_device_now(context_.get(), device_, &after, error_) == MILL_OK &&
                        after - before >= kSecond && seconds_since(begin) < 0.9;
  }

  void find_timing() {
    if (mill_device_timeline(context_.get(), device_, MILL_TIMELINE_WORK, error_) == MILL_OK) {
      timing_ = Timing::timeline;
      return;
    }
    check(mill_event_record(first_.get(), stream_.get(), error_), error_);
    check(mill_event_record(last_.get(), stream_.get(), error_), error_);
    wait(exec_.get());
    double ns = 0;
    timing_ = mill_event_elapsed(first_.get(), last_.get(), &ns, error_) == MILL_OK ? Timing::events
                                                                                    : Timing::host;
  }

  std::vector<mill_timeline_record> drain() {
    std::vector<mill_timeline_record> out;
    mill_timeline_record piece[64];
    uint64_t n = 0;
    do {
      n = 0;
      check(
          mill_device_drain(context_.get(), device_, piece, std::size(piece), &n, nullptr, error_),
          error_);
      n = std::min<uint64_t>(n, std::size(piece));
      out.insert(out.end(), piece, piece + n);
    } while (n == std::size(piece));
    return out;
  }

  static std::optional<mill_timeline_record> find_copy(
      const std::vector<mill_timeline_record>& records, bool to_device, uint64_t bytes) {
    const uint32_t kind = to_device ? MILL_COPY_HOST_TO_DEVICE : MILL_COPY_DEVICE_TO_HOST;
    for (const mill_timeline_record& record : records) {
      if (record.kind == MILL_TIMELINE_COPY && record.copy_kind == kind && record.bytes == bytes)
        return record;
    }
    return std::nullopt;
  }

  // Nanoseconds that `copy` took on the device; -1 where its record is missing.
  template <class Copy>
  double time(const Copy& copy, bool to_device, uint64_t bytes) {
    if (timing_ == Timing::timeline) {
      drain();
      copy();
      wait(exec_.get());
      const auto record = find_copy(drain(), to_device, bytes);
      return record ? static_cast<double>(record->end_ns - record->start_ns) : -1;
    }
    if (timing_ == Timing::events) {
      check(mill_event_record(first_.get(), stream_.get(), error_), error_);
      copy();
      check(mill_event_record(last_.get(), stream_.get(), error_), error_);
      wait(exec_.get());
      double ns = 0;
      check(mill_event_elapsed(first_.get(), last_.get(), &ns, error_), error_);
      return ns;
    }
    const double begin = now();
    copy();
    wait(exec_.get());
    return now() - begin;
  }

  void measure(Series& series, const Progress& progress) {
    for (uint64_t bytes = 1024; bytes <= largest_; bytes *= 4) {
      progress(std::string(series.pinned ? "pinned, " : "pageable, ") +
               (series.to_device ? "to the device, " : "to the host, ") + size_text(bytes));
      const TensorHandle tensor = make_tensor(exec_.get(), bytes);
      const unsigned char* from = series.pinned ? pinned_ : pageable_.get();
      FutureHandle future;
      TensorHandle copied;
      const auto copy = [&] {
        if (series.to_device) {
          check(mill_tensor_write(exec_.get(), tensor.get(), from, bytes, error_), error_);
        } else if (series.pinned) {
          future = read_async(exec_.get(), tensor.get());
        } else {
          check(mill_tensor_read(exec_.get(), tensor.get(), pageable_.get(), bytes, error_),
                error_);
        }
      };
      // An asynchronous read copies on the device first; where only the sum can be seen, that part
      // is measured by itself.
      const bool subtract = series.pinned && !series.to_device && timing_ != Timing::timeline;
      const auto on_device = [&] {
        mill_tensor* made = nullptr;
        check(mill_tensor_to(exec_.get(), tensor.get(), &made, error_), error_);
        copied.reset(made);
      };
      Point point;
      point.bytes = bytes;
      copy();  // memory is found, pages are touched
      wait(exec_.get());
      const Clock::time_point begin = Clock::now();
      for (uint32_t k = 0; k < limits_.repeats; ++k) {
        if (k >= 3 && seconds_since(begin) > limits_.seconds) break;
        future.reset();
        double ns = time(copy, series.to_device, bytes);
        if (subtract) ns -= time(on_device, false, bytes);
        if (ns > 0) point.ns.push_back(ns);
      }
      std::sort(point.ns.begin(), point.ns.end());
      if (!point.ns.empty()) series.points.push_back(std::move(point));
    }
    if (series.points.empty()) series.missing = "the device told of no such copy";
  }

  // A read into memory that has to be locked first, beside one that finds it locked.
  void measure_pinning() {
    const uint64_t small = largest_ / 16;
    if (small < uint64_t{64} << 10) return;
    double cost[2] = {};
    const uint64_t sizes[2] = {small, largest_};
    for (int k = 0; k < 2; ++k) {
      const TensorHandle tensor = make_tensor(exec_.get(), sizes[k]);
      make_tensor(exec_.get(), sizes[k]);  // so that the device has memory for the read's own copy
      double times[2] = {};
      for (double& one : times) {
        wait(exec_.get());
        const double begin = now();
        const FutureHandle future = read_async(exec_.get(), tensor.get());
        one = now() - begin;
        check(mill_future_wait(future.get(), UINT64_MAX, error_), error_);
      }
      cost[k] = std::max(times[0] - times[1], 0.0);
    }
    const double slope = std::max(cost[1] - cost[0], 0.0) / static_cast<double>(largest_ - small);
    figures_.pin_ns_per_byte = slope;
    figures_.pin_ns = std::max(cost[0] - slope * static_cast<double>(small), 0.0);
  }

  void make_pinned() {
    const TensorHandle tensor = make_tensor(exec_.get(), largest_);
    ring_ = read_async(exec_.get(), tensor.get());
    check(mill_future_wait(ring_.get(), UINT64_MAX, error_), error_);
    const void* data = nullptr;
    uint64_t bytes = 0;
    check(mill_future_data(ring_.get(), &data, &bytes, error_), error_);
    pinned_ = bytes >= largest_ ? static_cast<const unsigned char*>(data) : nullptr;
    if (!pinned_ || timing_ != Timing::timeline) return;
    // The device says whether it can reach that memory by itself.
    const TensorHandle probe = make_tensor(exec_.get(), 4096);
    drain();
    check(mill_tensor_write(exec_.get(), probe.get(), pinned_, 4096, error_), error_);
    wait(exec_.get());
    const auto record = find_copy(drain(), true, 4096);
    if (record && record->host_memory != MILL_RECORD_MEMORY_PINNED) {
      pinned_ = nullptr;
      no_pinned_ = "the device has no pinned memory";
    }
  }

  // A model charges what the host copies through a loader that gathers on the caller's thread. Its
  // rate is the slope between two sizes of batch.
  void measure_host_copy() {
    const uint64_t sizes[2] = {largest_ / 64, largest_ / 16};
    if (sizes[0] < 4096) return;
    double times[2] = {};
    mill_exec* host = nullptr;
    check(mill_exec_create(context_.get(), 0, nullptr, &host, error_), error_);
    const ExecHandle owned(host);
    for (int k = 0; k < 2; ++k) {
      constexpr int64_t kBatches = 3;
      const int64_t dims[2] = {kBatches * 64, static_cast<int64_t>(sizes[k] / 64)};
      mill_tensor* made = nullptr;
      check(mill_tensor_create(host, MILL_U8, dims, 2, &made, error_), error_);
      const TensorHandle rows(made);
      auto opts = sized<mill_loader_opts>(MILL_STRUCT_LOADER_OPTS);
      opts.batch = 64;
      opts.flags = MILL_LOADER_INLINE;
      opts.device = device_;
      opts.prefetch = 1;
      mill_loader* loader = nullptr;
      check(mill_loader_create(context_.get(), &made, 1, &opts, &loader, error_), error_);
      const LoaderHandle kept(loader);
      for (int64_t batch = 0; batch < kBatches; ++batch) {
        const double begin = now();
        mill_tensor* out = nullptr;
        check(mill_loader_next(loader, exec_.get(), &out, 1, error_), error_);
        const TensorHandle got(out);
        times[k] = now() - begin;  // of the last one: memory has been found by then
        // What uses the batch waits for its copy, after which its pinned memory is free again.
        mill_tensor* used = nullptr;
        check(mill_tensor_to(exec_.get(), got.get(), &used, error_), error_);
        const TensorHandle held(used);
        wait(exec_.get());
      }
    }
    const double ns = times[1] - times[0];
    if (ns > 0)
      figures_.host_copy_bytes_per_s = static_cast<double>(sizes[1] - sizes[0]) * 1e9 / ns;
  }

  void measure_both() {
    BothWays& both = figures_.both;
    if (!pinned_) {
      both.missing = no_pinned_;
      return;
    }
    if (timing_ != Timing::timeline) {
      both.missing = "it cannot be seen through the library whether the copies met";
      return;
    }
    const uint64_t bytes = largest_;
    const StreamHandle stream = make_stream();
    const ExecHandle other = make_exec(stream.get());
    const TensorHandle up = make_tensor(exec_.get(), bytes);
    const TensorHandle down = make_tensor(other.get(), bytes);
    for (int k = 0; k < 3; ++k) {
      drain();
      const FutureHandle future = read_async(other.get(), down.get());
      check(mill_tensor_write(exec_.get(), up.get(), pinned_, bytes, error_), error_);
      wait(other.get());
      const std::vector<mill_timeline_record> records = drain();
      const auto a = find_copy(records, true, bytes);
      const auto b = find_copy(records, false, bytes);
      if (!a || !b) continue;
      const int64_t met = std::min(a->end_ns, b->end_ns) - std::max(a->start_ns, b->start_ns);
      const int64_t shorter = std::min(a->end_ns - a->start_ns, b->end_ns - b->start_ns);
      if (met <= 0 || met * 2 < shorter) {
        both.missing = "copies of both directions did not meet";
        continue;
      }
      // What is left of the longer one goes at the full rate, which flatters it a little.
      const auto rate = [&](const mill_timeline_record& r) {
        return static_cast<double>(bytes) * 1e9 / static_cast<double>(r.end_ns - r.start_ns);
      };
      both.to_device_bytes_per_s = std::max(both.to_device_bytes_per_s, rate(*a));
      both.to_host_bytes_per_s = std::max(both.to_host_bytes_per_s, rate(*b));
      both.missing.clear();
    }
  }

  CalibrationLimits limits_;
  Error error_;
  ContextHandle context_;
  uint32_t device_ = 0;
  uint64_t largest_ = 0;
  StreamHandle stream_;
  ExecHandle exec_;
  EventHandle first_;
  EventHandle last_;
  Timing timing_ = Timing::host;
  FutureHandle ring_;  // keeps what pinned_ points to
  const unsigned char* pinned_ = nullptr;
  std::string no_pinned_ = "the library gave no memory to read into";
  std::unique_ptr<unsigned char[]> pageable_;
  LinkFigures figures_;
};

}  // namespace

LinkFigures measure_link(const std::string& device, const CalibrationLimits& limits,
                         const Progress& progress) {
  return LinkBench(device, limits).run(progress);
}

}  // namespace mill::cli
