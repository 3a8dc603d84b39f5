// Version, context, error, exec, device, tensor, memory, generator and trace: one call of each
// function.
#include "api/calls.h"

namespace mill_test {

namespace {

mill_context_opts* context_opts(Fixture& f) {
  auto* opts = f.structure<mill_context_opts>(MILL_STRUCT_CONTEXT_OPTS);
  opts->threads = MILL_THREADS_CALLER_ONLY;
  return opts;
}

const int64_t* dims23(Fixture& f) {
  return f.array<int64_t>({2, 3});
}

mill_stream* stream(Fixture& f) {
  return f.made<mill_stream>();
}

mill_stream* simulated_stream(Fixture& f) {
  mill_stream* out = nullptr;
  mill_stream_create(f.context(), f.simulated(), &out, nullptr);
  return f.own(out);
}

void* native_stream(Fixture& f) {
  void* native = nullptr;
  mill_stream_native(simulated_stream(f), &native, nullptr);
  return native;
}

mill_event* recorded_event(Fixture& f) {
  mill_stream* on = simulated_stream(f);
  mill_event* out = nullptr;
  mill_event_create(on, &out, nullptr);
  mill_event_record(out, on, nullptr);
  mill_event_wait(out, UINT64_MAX, nullptr);
  return f.own(out);
}

mill_exec* in_scope(Fixture& f) {
  mill_scope_begin(f.exec(), nullptr);
  return f.exec();
}

// Made inside a scope that has just begun: the fixture's once it is kept.
mill_tensor* scoped_tensor(Fixture& f) {
  in_scope(f);
  return f.made<mill_tensor>();
}

mill_exec* in_trace_scope(Fixture& f) {
  mill_trace_scope_begin(f.exec(), "outer", MILL_NTS, nullptr);
  return f.exec();
}

mill_context* traced(Fixture& f) {
  mill_trace_set_mask(f.context(), MILL_TRACE_OPS | MILL_TRACE_SCOPES, nullptr);
  mill_tensor* out = nullptr;
  mill_arange(f.exec(), 3, 0, 1, MILL_F32, &out, nullptr);
  mill_tensor_release(out);
  return f.context();
}

mill_trace_record* records(Fixture& f) {
  traced(f);
  auto* out = f.zeros<mill_trace_record>(4);
  uint32_t count = 0;
  mill_trace_drain(f.context(), out, 4, &count, nullptr, nullptr);
  return out;
}

void add_handles(Entries& to) {
  // Released or kept by the call itself, so the fixture owns what is left after it.
  MILL_ENTRY(mill_error_retain, f.own(f.made<mill_error>())).no_status().null({0});
  MILL_ENTRY(mill_error_release, f.unowned<mill_error>()).no_status().null({0});
  MILL_ENTRY(mill_context_retain, f.own(f.made<mill_context>())).no_status().null({0});
  MILL_ENTRY(mill_context_release, f.unowned<mill_context>()).no_status().null({0});
  MILL_ENTRY(mill_exec_retain, f.own(f.made<mill_exec>())).no_status().null({0});
  MILL_ENTRY(mill_exec_release, f.unowned<mill_exec>()).no_status().null({0});
  MILL_ENTRY(mill_stream_retain, f.own(f.made<mill_stream>())).no_status().null({0});
  MILL_ENTRY(mill_stream_release, f.unowned<mill_stream>()).no_status().null({0});
  MILL_ENTRY(mill_event_retain, f.own(f.made<mill_event>())).no_status().null({0});
  MILL_ENTRY(mill_event_release, f.unowned<mill_event>()).no_status().null({0});
  MILL_ENTRY(mill_future_retain, f.own(f.made<mill_future>())).no_status().null({0});
  MILL_ENTRY(mill_future_release, f.unowned<mill_future>()).no_status().null({0});
  MILL_ENTRY(mill_tensor_retain, f.own(f.made<mill_tensor>())).no_status().null({0});
  MILL_ENTRY(mill_tensor_release, f.unowned<mill_tensor>()).no_status().null({0});
  MILL_ENTRY(mill_call_retain, f.own(f.made<mill_call>())).no_status().null({0});
  MILL_ENTRY(mill_call_release, f.unowned<mill_call>()).no_status().null({0});
  MILL_ENTRY(mill_tape_retain, f.own(f.made<mill_tape>())).no_status().null({0});
  MILL_ENTRY(mill_tape_release, f.unowned<mill_tape>()).no_status().null({0});
  MILL_ENTRY(mill_group_retain, f.own(f.made<mill_group>())).no_status().null({0});
  MILL_ENTRY(mill_group_release, f.unowned<mill_group>()).no_status().null({0});
  MILL_ENTRY(mill_optimizer_retain, f.own(f.made<mill_optimizer>())).no_status().null({0});
  MILL_ENTRY(mill_optimizer_release, f.unowned<mill_optimizer>()).no_status().null({0});
  MILL_ENTRY(mill_generator_retain, f.own(f.made<mill_generator>())).no_status().null({0});
  MILL_ENTRY(mill_generator_release, f.unowned<mill_generator>()).no_status().null({0});
  MILL_ENTRY(mill_loader_retain, f.own(f.made<mill_loader>())).no_status().null({0});
  MILL_ENTRY(mill_loader_release, f.unowned<mill_loader>()).no_status().null({0});
  MILL_ENTRY(mill_file_retain, f.own(f.made<mill_file>())).no_status().null({0});
  MILL_ENTRY(mill_file_release, f.unowned<mill_file>()).no_status().null({0});
  MILL_ENTRY(mill_trace_writer_retain, f.own(f.made<mill_trace_writer>())).no_status().null({0});
  MILL_ENTRY(mill_trace_writer_release, f.unowned<mill_trace_writer>()).no_status().null({0});
}

void add_plain(Entries& to) {
  MILL_ENTRY(mill_version, f.zeros<uint32_t>(), f.zeros<uint32_t>(), f.zeros<uint32_t>())
      .no_status()
      .null({0, 1, 2});
  MILL_ENTRY(mill_api_level).no_status();
  MILL_ENTRY(mill_build_info).no_status();
  MILL_ENTRY(mill_status_name, MILL_E_SHAPE).no_status();
  MILL_ENTRY(mill_dtype_name, MILL_F32).no_status();
  MILL_ENTRY(mill_dtype_size, MILL_F32).no_status();
  MILL_ENTRY(mill_dtype_promote, MILL_F32, MILL_I64).no_status();
  MILL_ENTRY(mill_error_create, f.slot<mill_error>());
  MILL_ENTRY(mill_error_clear, f.made<mill_error>()).no_status();
  MILL_ENTRY(mill_error_status, f.made<mill_error>()).no_status();
  MILL_ENTRY(mill_error_message, f.made<mill_error>()).no_status();
  MILL_ENTRY(mill_error_operation, f.made<mill_error>()).no_status();
  MILL_ENTRY(mill_error_argument, f.made<mill_error>()).no_status();
  MILL_ENTRY(mill_error_native_code, f.made<mill_error>()).no_status();
  MILL_ENTRY(mill_error_memory, f.made<mill_error>(), f.zeros<uint64_t>(), f.zeros<uint64_t>(),
             f.zeros<uint64_t>())
      .no_status()
      .null({1, 2, 3});
  MILL_ENTRY(mill_error_set, f.made<mill_error>(), MILL_E_USER, "reason");
  MILL_ENTRY(mill_context_create, context_opts(f), f.slot<mill_context>(), f.err()).null({0});
}

void add_exec(Entries& to) {
  MILL_ENTRY(mill_exec_create, f.context(), 0, stream(f), f.slot<mill_exec>(), f.err()).null({2});
  MILL_ENTRY(mill_exec_get_context, f.exec(), f.slot<mill_context>(), f.err());
  MILL_ENTRY(mill_exec_set_tape, f.exec(), f.made<mill_tape>(), f.err()).null({1});
  MILL_ENTRY(mill_exec_get_tape, f.recording_exec(), f.slot<mill_tape>(), f.err());
  MILL_ENTRY(mill_exec_set_generator, f.exec(), f.made<mill_generator>(), f.err()).null({1});
  MILL_ENTRY(mill_exec_set_tag, f.exec(), "tag of the table of calls", f.err()).null({1});
  MILL_ENTRY(mill_exec_set_order, f.exec(), MILL_ORDER_MANUAL, f.err());
  MILL_ENTRY(mill_exec_set_staging, f.exec(), 65536, f.err());
  MILL_ENTRY(mill_exec_set_late_reads, f.exec(), 1, f.err());
  MILL_ENTRY(mill_exec_set_deterministic, f.exec(), 0, f.err());
  MILL_ENTRY(mill_exec_set_autocast, f.exec(), MILL_BF16, f.err());
  MILL_ENTRY(mill_exec_wait, f.exec(), f.err());
  MILL_ENTRY(mill_scope_begin, f.exec(), f.err());
  MILL_ENTRY(mill_scope_keep, f.exec(), scoped_tensor(f), f.err());
  MILL_ENTRY(mill_scope_end, in_scope(f), f.err());
  MILL_ENTRY(mill_device_count, f.context(), f.zeros<uint32_t>(), f.err());
  MILL_ENTRY(mill_device_query, f.context(), 0,
             f.structure<mill_device_info>(MILL_STRUCT_DEVICE_INFO), f.err());
  MILL_ENTRY(mill_stream_create, f.context(), 0, f.slot<mill_stream>(), f.err());
  MILL_ENTRY(mill_stream_wait, stream(f), f.err());
  MILL_ENTRY(mill_event_create, stream(f), f.slot<mill_event>(), f.err());
  MILL_ENTRY(mill_event_record, f.made<mill_event>(), stream(f), f.err());
  MILL_ENTRY(mill_event_query, f.made<mill_event>(), f.err());
  MILL_ENTRY(mill_event_wait, f.made<mill_event>(), UINT64_MAX, f.err());
  MILL_ENTRY(mill_stream_wrap, f.context(), f.simulated(), native_stream(f), f.slot<mill_stream>(),
             f.err());
  MILL_ENTRY(mill_stream_native, simulated_stream(f), f.zeros<void*>(), f.err());
  MILL_ENTRY(mill_event_elapsed, recorded_event(f), recorded_event(f), f.zeros<double>(), f.err());
  MILL_ENTRY(mill_event_descriptor, f.made<mill_event>(), f.zeros<int32_t>(), f.err());
  MILL_ENTRY(mill_device_open, f.context(), "sim", MILL_NTS, f.zeros<uint32_t>(), f.err());
  MILL_ENTRY(mill_device_configure, f.context(), 0, "gemm", MILL_NTS, 1, f.err());
  MILL_ENTRY(mill_device_now, f.context(), f.simulated(), f.zeros<int64_t>(), f.err());
  MILL_ENTRY(mill_device_charge, f.context(), f.simulated(), 5, f.err());
  MILL_ENTRY(mill_device_timeline, f.context(), f.simulated(), 1, f.err());
  MILL_ENTRY(mill_device_drain, f.context(), f.simulated(), f.zeros<mill_timeline_record>(2), 2,
             f.zeros<uint64_t>(), f.zeros<uint64_t>(), f.err())
      .null({5});
  MILL_ENTRY(mill_plugin_count, f.context(), f.zeros<uint32_t>(), f.err());
  MILL_ENTRY(mill_plugin_query, f.context(), 0,
             f.structure<mill_plugin_info>(MILL_STRUCT_PLUGIN_INFO), f.err());
  MILL_ENTRY(mill_stream_wait_event, stream(f), f.made<mill_event>(), f.err());
}

void add_tensor(Entries& to) {
  MILL_ENTRY(mill_tensor_create, f.exec(), MILL_F32, dims23(f), 2, f.slot<mill_tensor>(), f.err());
  MILL_ENTRY(mill_tensor_from_host, f.exec(), MILL_F32, dims23(f), 2, f.zeros<float>(6), 24,
             f.slot<mill_tensor>(), f.err());
  MILL_ENTRY(mill_tensor_import, f.exec(), MILL_F32, dims23(f), nullptr, 2, f.zeros<float>(6),
             nullptr, nullptr, f.slot<mill_tensor>(), f.err())
      .null({3, 6, 7});
  MILL_ENTRY(mill_tensor_view, f.tensor(), f.array<int64_t>({4}), f.array<int64_t>({1}), 1, 2,
             f.slot<mill_tensor>(), f.err())
      .null({2});
  MILL_ENTRY(mill_tensor_to, f.exec(), f.tensor(), f.slot<mill_tensor>(), f.err());
  MILL_ENTRY(mill_tensor_detach, f.tensor(), f.slot<mill_tensor>(), f.err());
  MILL_ENTRY(mill_tensor_dtype, f.tensor()).no_status();
  MILL_ENTRY(mill_tensor_rank, f.tensor()).no_status();
  MILL_ENTRY(mill_tensor_count, f.tensor()).no_status();
  MILL_ENTRY(mill_tensor_dim, f.tensor(), -1).no_status();
  MILL_ENTRY(mill_tensor_shape, f.tensor(), f.zeros<int64_t>(2), f.zeros<int64_t>(2), 2,
             f.zeros<uint32_t>(), f.err())
      .null({1, 2});
  MILL_ENTRY(mill_tensor_device, f.tensor(), f.zeros<uint32_t>(), f.err());
  MILL_ENTRY(mill_tensor_version, f.tensor(), f.zeros<uint64_t>(), f.err());
  MILL_ENTRY(mill_tensor_data, f.tensor(), 1, f.zeros<void*>(), f.err());
  MILL_ENTRY(mill_tensor_read, f.exec(), f.tensor(), f.zeros<float>(6), 24, f.err());
  MILL_ENTRY(mill_tensor_item, f.exec(), f.stat(), f.zeros<double>(), f.err());
  MILL_ENTRY(mill_tensor_write, f.exec(), f.tensor(), f.zeros<float>(6), 24, f.err());
  MILL_ENTRY(mill_tensor_read_async, f.exec(), f.tensor(), f.slot<mill_future>(), f.err());
  MILL_ENTRY(mill_future_query, f.made<mill_future>(), f.err());
  MILL_ENTRY(mill_future_wait, f.made<mill_future>(), UINT64_MAX, f.err());
  MILL_ENTRY(mill_future_data, f.made<mill_future>(), f.zeros<const void*>(), f.zeros<uint64_t>(),
             f.err());
}

void add_memory(Entries& to) {
  MILL_ENTRY(mill_memory_stats_query, f.context(), 0,
             f.structure<mill_memory_stats>(MILL_STRUCT_MEMORY_STATS), f.err());
  MILL_ENTRY(mill_memory_tag_query, f.context(), 0, "tag", f.zeros<uint64_t>(), f.err()).null({2});
  MILL_ENTRY(mill_memory_trim, f.context(), 0, f.zeros<uint64_t>(), f.err()).null({2});
  MILL_ENTRY(mill_memory_set_limit, f.context(), 0, uint64_t{1} << 40, f.err());
  MILL_ENTRY(mill_memory_reset_peak, f.context(), 0, f.err());
  MILL_ENTRY(mill_memory_fail_at, f.context(), 0, 0, f.err());
  MILL_ENTRY(mill_generator_create, f.exec(), 7, f.slot<mill_generator>(), f.err());
  MILL_ENTRY(mill_generator_get_state, f.made<mill_generator>(), f.zeros<uint64_t>(),
             f.zeros<uint64_t>(), f.err());
  MILL_ENTRY(mill_generator_set_state, f.exec(), f.made<mill_generator>(), 1, 2, f.err());
  MILL_ENTRY(mill_generator_next, f.exec(), f.made<mill_generator>(), f.slot<mill_tensor>(),
             f.err());
}

void add_trace(Entries& to) {
  MILL_ENTRY(mill_trace_set_mask, f.context(), MILL_TRACE_OPS, f.err());
  MILL_ENTRY(mill_trace_get_mask, f.context(), f.zeros<uint64_t>(), f.err());
  MILL_ENTRY(mill_trace_clock, f.context(), f.zeros<uint64_t>(), f.err());
  MILL_ENTRY(mill_trace_drain, traced(f), f.zeros<mill_trace_record>(4), 4, f.zeros<uint32_t>(),
             f.zeros<uint64_t>(), f.err())
      .null({4});
  MILL_ENTRY(mill_trace_string, f.context(), 0, f.zeros<char>(16), 16, f.zeros<uint64_t>(), f.err())
      .null({4});
  MILL_ENTRY(mill_trace_scope_begin, f.exec(), "scope", MILL_NTS, f.err());
  MILL_ENTRY(mill_trace_scope_end, in_trace_scope(f), f.err());
  MILL_ENTRY(mill_trace_mark, f.exec(), "mark", MILL_NTS, f.err());
  MILL_ENTRY(mill_trace_step, f.exec(), f.err());
  MILL_ENTRY(mill_trace_op_stats, traced(f), f.zeros<mill_trace_op_row>(4), 4, f.zeros<uint32_t>(),
             f.err());
  MILL_ENTRY(mill_trace_reset_op_stats, traced(f), f.err());
  MILL_ENTRY(mill_trace_writer_open, f.context(), f.path("new.json"), MILL_NTS,
             f.slot<mill_trace_writer>(), f.err());
  MILL_ENTRY(mill_trace_writer_append, f.made<mill_trace_writer>(), records(f), 1, f.err());
  MILL_ENTRY(mill_trace_writer_finish, f.made<mill_trace_writer>(), f.err());
  MILL_ENTRY(mill_trace_write_chrome, f.context(), records(f), 1, f.path("all.json"), MILL_NTS,
             f.err());
}

}  // namespace

void add_core_entries(Entries& to) {
  add_handles(to);
  add_plain(to);
  add_exec(to);
  add_tensor(to);
  add_memory(to);
  add_trace(to);
}

}  // namespace mill_test
