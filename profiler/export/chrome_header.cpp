#include "profiler/export/chrome_header.h"

namespace mill::prof {

namespace {

template <class Rows, class F>
void list(Writer& out, std::string_view key, const Rows& rows, F&& one) {
  out.put(key);
  bool first = true;
  for (const auto& row : rows) {
    out.put(first ? "\n" : ",\n");
    first = false;
    one(row);
  }
  out.put("]");
}

void device(Writer& out, const DeviceInfo& info) {
  out.count("{\"number\":", info.number);
  out.text(",\"name\":", info.name);
  out.text(",\"description\":", info.description);
  out.count(",\"kind\":", static_cast<uint64_t>(info.kind));
  out.flag(",\"modelled\":", info.modelled);
  out.count(",\"copy_engines\":", info.copy_engines);
  out.count(",\"host_threads\":", info.host_threads);
  out.count(",\"memory_bytes\":", info.memory_bytes);
  out.figure(",\"memory_bytes_per_s\":", info.memory_bytes_per_s);
  out.figure(",\"to_device_bytes_per_s\":", info.to_device_bytes_per_s);
  out.figure(",\"to_host_bytes_per_s\":", info.to_host_bytes_per_s);
  out.figure(",\"peer_bytes_per_s\":", info.peer_bytes_per_s);
  out.count(",\"link_generation\":", info.link_generation);
  out.count(",\"link_generation_max\":", info.link_generation_max);
  out.count(",\"link_width\":", info.link_width);
  out.count(",\"link_width_max\":", info.link_width_max);
  out.put('}');
}

}  // namespace

void chrome_header(Writer& out, const Trace& trace, Ns base) {
  out.put("{\"displayTimeUnit\":\"ns\",\n\"baseTimeNanoseconds\":");
  out.integer(base);
  out.text(",\n\"millrace\":{\"format\":1,\"source\":", trace.source);
  out.text(",\"dialect\":", trace.dialect);
  out.flag(",\"cut_off\":", trace.cut_off);
  out.flag(",\"whole_graphs\":", trace.whole_graphs);
  out.flag(",\"has_device_clock\":", trace.has_device_clock);
  out.count(",\"skipped\":", trace.skipped);
  out.count(",\"other_clock\":", trace.other_clock);
  out.count(",\"unfinished\":", trace.unfinished);
  out.figure(",\"own_cost\":{\"share\":", trace.own_cost.share);
  out.figure(",\"share_low\":", trace.own_cost.share_low);
  out.figure(",\"event_ns\":", trace.own_cost.event_ns);
  out.figure(",\"budget\":", trace.own_cost.budget);
  out.put('}');
  list(out, ",\"losses\":[", trace.losses, [&](const Loss& loss) {
    out.text("{\"where\":", loss.where);
    out.count(",\"lost\":", loss.lost);
    out.put('}');
  });
  list(out, ",\"notes\":[", trace.notes, [&](const std::string& note) { out.json(note); });
  list(out, ",\"recorded\":[", trace.recorded, [&](const Interval& span) {
    out.put('[');
    out.integer(span.begin);
    out.put(',');
    out.integer(span.end);
    out.put(']');
  });
  list(out, ",\"devices\":[", trace.devices, [&](const DeviceInfo& info) { device(out, info); });
  list(out, ",\"threads\":[", trace.threads, [&](const ThreadInfo& info) {
    out.count("{\"process\":", info.process);
    out.count(",\"number\":", info.number);
    out.text(",\"name\":", info.name);
    out.put('}');
  });
  list(out, ",\"streams\":[", trace.streams, [&](const StreamInfo& info) {
    out.put("{\"device\":");
    out.integer(info.device < trace.devices.size() ? int64_t{info.device} : -1);
    out.count(",\"number\":", info.number);
    out.text(",\"name\":", info.name);
    out.flag(",\"legacy_default\":", info.legacy_default);
    out.put('}');
  });
  out.put("},\n\"traceEvents\":[\n");
}

}  // namespace mill::prof
