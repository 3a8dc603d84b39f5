// The profiler: one call of each function.
#include <cstdio>
#include <string>

#include "api/calls.h"

namespace mill_test {

namespace {

mill_prof* running(Fixture& f) {
  auto* prof = f.made<mill_prof>();
  mill_prof_start(prof, nullptr);
  return prof;
}

// A trace file with one finding: a blocking wait that left the device idle in each of 20 steps.
const char* trace_path(Fixture& f, int steps = 20) {
  const char* path = f.path("trace.json");
  std::string text = "[";
  for (int step = 0; step < steps; ++step) {
    const int at = 1000 + 1000 * step;
    const auto event = [&](const char* cat, const char* name, int tid, int ts, int dur, int id) {
      text += text.size() > 1 ? "," : "";
      text +=
          std::string("{\"ph\":\"X\",\"cat\":\"") + cat + "\",\"name\":\"" + name +
          "\",\"pid\":1,\"tid\":" + std::to_string(tid) + ",\"ts\":" + std::to_string(at + ts) +
          ",\"dur\":" + std::to_string(dur) +
          ",\"args\":{\"device\":0,\"stream\":7,\"correlation\":" + std::to_string(4 * step + id) +
          "}}";
    };
    event("user_annotation", ("ProfilerStep#" + std::to_string(step)).c_str(), 1, 0, 1000, 0);
    event("cuda_runtime", "cudaLaunchKernel", 1, 0, 10, 1);
    event("kernel", "k", 7, 20, 300, 1);
    event("cuda_runtime", "cudaDeviceSynchronize", 1, 20, 310, 2);
  }
  text += "]";
  std::FILE* file = std::fopen(path, "w");
  std::fwrite(text.data(), 1, text.size(), file);
  std::fclose(file);
  return path;
}

mill_prof_view* view_of_file(Fixture& f) {
  mill_prof* prof = nullptr;
  mill_prof_open(f.context(), trace_path(f), MILL_NTS, nullptr, &prof, nullptr);
  mill_prof_view* view = nullptr;
  mill_prof_snapshot(f.own(prof), &view, nullptr);
  return f.own(view);
}

const char* calibration_path(Fixture& f) {
  mill_prof* const prof = f.made<mill_prof>();
  const char* path = f.path("calibration.json");
  std::FILE* file = std::fopen(path, "w");
  std::fputs("{\"millrace_link_calibration\": 1, \"lines\": []}\n", file);
  std::fclose(file);
  (void)prof;
  return path;
}

mill_status one_step(void* user, uint64_t, mill_error* err) {
  return mill_trace_step(static_cast<mill_exec*>(user), err);
}

// A view whose first finding is that values are read back in every step, on a simulated device.
mill_prof_view* view_of_reads(Fixture& f, mill_exec* exec) {
  mill_prof* const prof = f.made<mill_prof>();
  mill_tensor* big = nullptr;
  const int64_t dims[2] = {64, 64};
  mill_fill(exec, dims, 2, MILL_F32, 0.5, &big, nullptr);
  f.own(big);
  mill_prof_start(prof, nullptr);
  for (int k = 0; k < 12; ++k) {
    mill_tensor* product = nullptr;
    mill_tensor* sum = nullptr;
    double value = 0;
    mill_matmul(exec, big, big, &product, nullptr);
    mill_sum(exec, product, nullptr, 0, 0, &sum, nullptr);
    mill_tensor_item(exec, sum, &value, nullptr);
    mill_tensor_release(product);
    mill_tensor_release(sum);
    mill_trace_step(exec, nullptr);
  }
  mill_prof_stop(prof, nullptr);
  mill_prof_view* view = nullptr;
  mill_prof_snapshot(prof, &view, nullptr);
  return f.own(view);
}

// All on one device: a session keeps one clock.
mill_exec* exec_of_device(Fixture& f) {
  uint32_t device = 1;
  uint32_t devices = 0;
  mill_device_count(f.context(), &devices, nullptr);
  if (devices == 1)
    mill_device_open(f.context(), "sim:h200-sxm,memory=16777216", MILL_NTS, &device, nullptr);
  mill_exec* exec = nullptr;
  mill_exec_create(f.context(), device, nullptr, &exec, nullptr);
  return f.own(exec);
}

const mill_prof_subject* subject(Fixture& f, mill_exec* exec) {
  auto* out = f.structure<mill_prof_subject>(MILL_STRUCT_PROF_SUBJECT);
  out->run_on = exec;
  out->step = one_step;
  out->user = exec;
  out->steps = 2;
  out->blocks = 1;
  return out;
}

mill_status ignore(void*, const char*, uint64_t) {
  return MILL_OK;
}

}  // namespace

void add_profiler_entries(Entries& to) {
  MILL_ENTRY(mill_prof_capability_count, f.context(), f.zeros<uint32_t>(), f.err());
  MILL_ENTRY(mill_prof_capability_query, f.context(), 0,
             f.structure<mill_prof_capability>(MILL_STRUCT_PROF_CAPABILITY), f.err());
  MILL_ENTRY(mill_prof_create, f.context(), f.structure<mill_prof_opts>(MILL_STRUCT_PROF_OPTS),
             f.slot<mill_prof>(), f.err())
      .null({1});
  MILL_ENTRY(mill_prof_open, f.context(), trace_path(f, 2), MILL_NTS,
             f.structure<mill_prof_opts>(MILL_STRUCT_PROF_OPTS), f.slot<mill_prof>(), f.err())
      .null({3});
  MILL_ENTRY(mill_prof_retain, f.own(f.made<mill_prof>())).no_status().null({0});
  MILL_ENTRY(mill_prof_release, f.unowned<mill_prof>()).no_status().null({0});
  MILL_ENTRY(mill_prof_start, f.made<mill_prof>(), f.err());
  MILL_ENTRY(mill_prof_stop, running(f), f.err());
  MILL_ENTRY(mill_prof_set, f.made<mill_prof>(), "t3_min_share", MILL_NTS, 0.1, f.err());
  MILL_ENTRY(mill_prof_set_calibration, f.made<mill_prof>(), calibration_path(f), MILL_NTS,
             f.err());
  MILL_ENTRY(mill_prof_step, running(f), f.err());
  MILL_ENTRY(mill_prof_range_push, running(f), "range", MILL_NTS, f.err());
  MILL_ENTRY(mill_prof_range_pop, running(f), f.err());
  MILL_ENTRY(mill_prof_mark, running(f), "mark", MILL_NTS, f.err());
  MILL_ENTRY(mill_prof_overhead, f.made<mill_prof>(),
             f.structure<mill_prof_overhead_info>(MILL_STRUCT_PROF_OVERHEAD), f.err());
  MILL_ENTRY(mill_prof_snapshot, f.made<mill_prof>(), f.slot<mill_prof_view>(), f.err());
  MILL_ENTRY(mill_prof_view_retain, f.own(f.made<mill_prof_view>())).no_status().null({0});
  MILL_ENTRY(mill_prof_view_release, f.unowned<mill_prof_view>()).no_status().null({0});
  MILL_ENTRY(mill_prof_view_summary, f.made<mill_prof_view>(),
             f.structure<mill_prof_summary>(MILL_STRUCT_PROF_SUMMARY), f.err());
  MILL_ENTRY(mill_prof_finding_query, view_of_file(f), 0,
             f.structure<mill_prof_finding>(MILL_STRUCT_PROF_FINDING), f.err());
  MILL_ENTRY(mill_prof_finding_facts, view_of_file(f), 0, f.zeros<mill_prof_fact>(32), 32,
             f.zeros<uint32_t>(), f.err());
  MILL_ENTRY(mill_prof_finding_evidence, view_of_file(f), 0, f.zeros<mill_prof_evidence>(1000),
             1000, f.zeros<uint32_t>(), f.err());
  MILL_ENTRY(mill_prof_query, f.made<mill_prof_view>(), "select * from ops", MILL_NTS,
             f.slot<mill_prof_result>(), f.err());
  MILL_ENTRY(mill_prof_result_retain, f.own(f.made<mill_prof_result>())).no_status().null({0});
  MILL_ENTRY(mill_prof_result_release, f.unowned<mill_prof_result>()).no_status().null({0});
  MILL_ENTRY(mill_prof_result_shape, f.made<mill_prof_result>(), f.zeros<uint32_t>(),
             f.zeros<uint64_t>(), f.err());
  MILL_ENTRY(mill_prof_result_column, f.made<mill_prof_result>(), 0, f.zeros<mill_prof_column>(),
             f.err());
  MILL_ENTRY(mill_prof_whatif, view_of_file(f),
             f.structure<mill_prof_change>(MILL_STRUCT_PROF_CHANGE),
             f.structure<mill_prof_prediction>(MILL_STRUCT_PROF_PREDICTION), f.err());
  MILL_ENTRY(mill_prof_try, view_of_reads(f, exec_of_device(f)), 0, subject(f, exec_of_device(f)),
             f.structure<mill_prof_trial>(MILL_STRUCT_PROF_TRIAL), f.err());
  MILL_ENTRY(mill_prof_export, f.made<mill_prof_view>(), MILL_PROF_FORMAT_TEXT, "", ignore, nullptr,
             f.err())
      .null({2, 3, 4});
  MILL_ENTRY(mill_prof_export_file, f.made<mill_prof_view>(), MILL_PROF_FORMAT_TEXT, "",
             f.path("report.txt"), MILL_NTS, f.err())
      .null({2});
}

}  // namespace mill_test
