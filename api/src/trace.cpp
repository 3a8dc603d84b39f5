#include "millrace/trace.h"

#include "base/utf8.h"
#include "guard.h"
#include "trace/chrome.h"

struct mill_trace_writer : mill::Handle {
  static constexpr mill::HandleKind kKind = mill::HandleKind::writer;

  mill_trace_writer(mill_context* owner, const std::string& path)
      : context(mill::Ref<mill_context>::share(owner)), file(owner->tracer, path) {}

  mill::Ref<mill_context> context;
  mill::OwnerLock lock;
  mill::ChromeWriter file;
};

using namespace mill;       // NOLINT
using namespace mill::api;  // NOLINT

namespace {

std::string_view need_name(const char* name, uint64_t length) {
  if (!name) fail_argument(MILL_E_ARG, 1, "name is NULL");
  const std::string_view text(name, length == MILL_NTS ? std::strlen(name) : length);
  need_utf8(text, 1, "name");
  return text;
}

class WriterGuard {
 public:
  explicit WriterGuard(mill_trace_writer* writer) : writer_(need(writer, 0, "writer")) {
    check_fork(*writer_.context);
    if (!writer_.lock.try_enter()) fail(MILL_E_BUSY, "the writer is being used by another thread");
  }
  ~WriterGuard() { writer_.lock.leave(); }
  WriterGuard(const WriterGuard&) = delete;
  WriterGuard& operator=(const WriterGuard&) = delete;
  ChromeWriter& file() { return writer_.file; }

 private:
  mill_trace_writer& writer_;
};

void check_records(const mill_trace_record* records, uint32_t count) {
  if (count > 0 && !records) fail_argument(MILL_E_ARG, 1, "records is NULL, count is %u", count);
}

}  // namespace

mill_status mill_trace_set_mask(mill_context* context, uint64_t mask, mill_error* err) {
  return guard("mill_trace_set_mask", err, [&] {
    mill_context& c = need_context(context);
    at_argument(1, [&] { c.set_trace_mask(mask); });
  });
}

mill_status mill_trace_get_mask(mill_context* context, uint64_t* out_mask, mill_error* err) {
  return guard("mill_trace_get_mask", err, [&] {
    need_out(out_mask, 1, "out_mask") = 0;
    *out_mask = need_context(context).tracer.mask();
  });
}

mill_status mill_trace_clock(mill_context* context, uint64_t* out_now_ns, mill_error* err) {
  return guard("mill_trace_clock", err, [&] {
    need_out(out_now_ns, 1, "out_now_ns") = 0;
    need_context(context);
    *out_now_ns = monotonic_ns();
  });
}

mill_status mill_trace_drain(mill_context* context, mill_trace_record* records, uint32_t capacity,
                             uint32_t* out_count, uint64_t* out_lost, mill_error* err) {
  return guard("mill_trace_drain", err, [&]() -> mill_status {
    need_out(out_count, 3, "out_count") = 0;
    if (out_lost) *out_lost = 0;
    mill_context& c = need_context(context);
    check_records(records, capacity);
    uint64_t lost = 0;
    const mill_status status = c.tracer.drain(Reader::program, records, capacity, out_count, &lost);
    if (out_lost) *out_lost = lost;
    return status;
  });
}

mill_status mill_trace_string(mill_context* context, uint32_t id, char* text, uint64_t capacity,
                              uint64_t* out_size, mill_error* err) {
  return guard("mill_trace_string", err, [&]() -> mill_status {
    if (out_size) *out_size = 0;
    const StringTable& strings = need_context(context).tracer.strings();
    if (!strings.contains(id))
      fail_argument(MILL_E_ARG, 1, "id is %u, the trace has no such string", id);
    if (capacity > 0 && !text) {
      fail_argument(MILL_E_ARG, 2, "text is NULL, capacity is %llu",
                    static_cast<unsigned long long>(capacity));
    }
    const std::string_view found = strings.text(id);
    const uint64_t needed = found.size() + 1;
    if (out_size) *out_size = needed;
    if (capacity < needed) return MILL_INCOMPLETE;
    std::memcpy(text, found.data(), found.size());
    text[found.size()] = 0;
    return MILL_OK;
  });
}

mill_status mill_trace_scope_begin(mill_exec* exec, const char* name, uint64_t name_len,
                                   mill_error* err) {
  return guard("mill_trace_scope_begin", err, [&] {
    mill_exec& e = need(exec, 0, "exec");
    const ExecGuard entered(e);
    e.trace.scope_begin(need_name(name, name_len));
  });
}

mill_status mill_trace_scope_end(mill_exec* exec, mill_error* err) {
  return guard("mill_trace_scope_end", err, [&] {
    mill_exec& e = need(exec, 0, "exec");
    const ExecGuard entered(e);
    e.trace.scope_end();
  });
}

mill_status mill_trace_mark(mill_exec* exec, const char* name, uint64_t name_len, mill_error* err) {
  return guard("mill_trace_mark", err, [&] {
    mill_exec& e = need(exec, 0, "exec");
    const ExecGuard entered(e);
    e.trace.mark(need_name(name, name_len));
  });
}

mill_status mill_trace_step(mill_exec* exec, mill_error* err) {
  return guard("mill_trace_step", err, [&] {
    mill_exec& e = need(exec, 0, "exec");
    const ExecGuard entered(e);
    e.trace.step();
  });
}

mill_status mill_trace_op_stats(mill_context* context, mill_trace_op_row* rows, uint32_t capacity,
                                uint32_t* out_count, mill_error* err) {
  return guard("mill_trace_op_stats", err, [&]() -> mill_status {
    need_out(out_count, 3, "out_count") = 0;
    mill_context& c = need_context(context);
    if (capacity > 0 && !rows)
      fail_argument(MILL_E_ARG, 1, "rows is NULL, capacity is %u", capacity);
    const std::vector<mill_trace_op_row> found = c.tracer.op_stats();
    for (size_t k = 0; k < found.size() && k < capacity; ++k) rows[k] = found[k];
    *out_count = static_cast<uint32_t>(found.size());
    return found.size() > capacity ? MILL_INCOMPLETE : MILL_OK;
  });
}

mill_status mill_trace_reset_op_stats(mill_context* context, mill_error* err) {
  return guard("mill_trace_reset_op_stats", err,
               [&] { need_context(context).tracer.reset_op_stats(); });
}

mill_status mill_trace_writer_open(mill_context* context, const char* path, uint64_t path_len,
                                   mill_trace_writer** out_writer, mill_error* err) {
  return guard("mill_trace_writer_open", err, [&] {
    clear_out(out_writer, 3, "out_writer");
    mill_context& c = need_context(context);
    *out_writer = at_argument(
        1, [&] { return slab_new<mill_trace_writer>(&c, need_text(path, path_len, 1, "path")); });
  });
}

mill_status mill_trace_writer_append(mill_trace_writer* writer, const mill_trace_record* records,
                                     uint32_t count, mill_error* err) {
  return guard("mill_trace_writer_append", err, [&] {
    WriterGuard entered(writer);
    check_records(records, count);
    entered.file().append({records, count});
  });
}

mill_status mill_trace_writer_finish(mill_trace_writer* writer, mill_error* err) {
  return guard("mill_trace_writer_finish", err, [&] { WriterGuard(writer).file().finish(); });
}

void mill_trace_writer_retain(mill_trace_writer* writer) {
  if (valid(writer, HandleKind::writer)) writer->retain();
}

void mill_trace_writer_release(mill_trace_writer* writer) {
  if (!valid(writer, HandleKind::writer) || writer->context->fork_generation != fork_generation())
    return;
  if (!writer->release()) return;
  const Ref<mill_context> context = writer->context;
  slab_delete(writer);
}

mill_status mill_trace_write_chrome(mill_context* context, const mill_trace_record* records,
                                    uint32_t count, const char* path, uint64_t path_len,
                                    mill_error* err) {
  return guard("mill_trace_write_chrome", err, [&] {
    mill_context& c = need_context(context);
    check_records(records, count);
    at_argument(3, [&] {
      ChromeWriter file(c.tracer, need_text(path, path_len, 3, "path"));
      file.append({records, count});
      file.finish();
    });
  });
}
