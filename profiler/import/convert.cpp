#include "profiler/import/convert.h"

#include <algorithm>
#include <limits>

#include "profiler/import/header.h"
#include "profiler/import/text.h"

namespace mill::prof {

namespace {

// Begun events that are remembered at once, in all threads.
constexpr uint64_t kMostOpen = uint64_t{4} << 20;
// Of the list of those of one thread, about.
constexpr uint64_t kOpenBytes = 128;

}  // namespace

Converter::Converter(const ImportOptions& options, Trace& trace)
    : store_(options.store_bytes, trace), trace_(trace), own_(store_) {}

void Converter::header(std::string_view key, std::string_view json) {
  if (key == "deviceProperties") {
    kineto_ = true;
    properties(json);
  } else if (key == "schemaVersion") {
    kineto_ = true;
  } else if (key == "millrace") {
    if (!own_.header(json))
      trace_.notes.emplace_back(
          "The file is an export of Millrace, but not as this version writes it: it was read as "
          "any other trace.");
  } else if (key == "baseTimeNanoseconds") {
    if (json.size() >= 2 && json.front() == '"') json = json.substr(1, json.size() - 2);
    const int64_t base = read_decimal(json, 0).value_or(0);
    if (events_ == 0) {
      base_ = base;
    } else {
      late_base_ = base;
    }
  } else if (key == "otherData") {
    rapidjson::Document doc;
    if (read_header(json, &doc) && text_in(doc, "producer") == "millrace") engine_ = true;
  }
}

void Converter::properties(std::string_view json) {
  rapidjson::Document doc;
  if (!read_header(json, &doc) || !doc.IsArray()) return;
  properties_.clear();
  std::string space;
  for (const rapidjson::Value& one : doc.GetArray()) {
    DeviceInfo& info = properties_[number_in(one, "id")];
    info.name = clean_text(text_in(one, "name"), &space);
    info.memory_bytes = number_in(one, "totalGlobalMem");
    const uint64_t units = number_in(one, "numSms");
    if (units != 0) info.description = std::to_string(units) + " multiprocessors";
    if (const uint64_t major = number_in(one, "computeMajor"); major != 0) {
      if (!info.description.empty()) info.description += ", ";
      info.description += "compute capability " + std::to_string(major) + "." +
                          std::to_string(number_in(one, "computeMinor"));
    }
  }
}

void Converter::skip(const char* reason, uint64_t at) {
  ++trace_.skipped;
  for (Skipped& one : skipped_) {
    if (one.reason != reason) continue;
    ++one.count;
    return;
  }
  skipped_.push_back({reason, 1, at});
}

bool Converter::time(std::string_view text, const char* missing, uint64_t at, Ns* out) {
  if (text.empty()) {
    skip(missing, at);
    return false;
  }
  // Microseconds: three more digits are nanoseconds.
  const auto value = read_decimal(text, 3);
  if (!value) {
    skip("has a time that is no number or does not fit into 64 bits", at);
    return false;
  }
  *out = *value;
  return true;
}

void Converter::event(const Event& event, uint64_t at) {
  if (event.empty) return;  // some writers end their list with {}
  if (event.ph == 0) {
    skip("has no kind (ph)", at);
    return;
  }
  Ns start = 0;
  constexpr std::string_view kTimed = "XBEiIRCstf";
  if (kTimed.find(event.ph) != std::string_view::npos) {
    if (!time(event.ts, "has no time (ts)", at, &start)) return;
    start = add_clamped(start, base_);
  }
  switch (event.ph) {
    case 'X': {
      Ns length = 0;
      if (!time(event.dur, "has no length (dur)", at, &length)) return;
      const Span span{start, add_clamped(start, length)};
      last_ = std::max({last_, span.start, span.end});
      slice(event, span);
      break;
    }
    case 'B': begin(event, start); break;
    case 'E': end(event, start, at); break;
    case 'i':
    case 'I':
    case 'R': instant(event, start); break;
    case 'C': counter(event, start); break;
    case 's':
    case 't':
    case 'f': flow(event, start); break;
    case 'M': metadata(event); break;
    default: break;
  }
  ++events_;
}

uint32_t Converter::thread_of(const Event& event) {
  return store_.thread(store_.id(event.pid), store_.id(event.tid));
}

EventClass Converter::class_of(const Event& event) {
  if (event.cat != last_category_ || last_category_.empty()) {
    last_category_.assign(event.cat.substr(0, 64));
    last_class_ = class_of_category(event.cat);
  }
  const EventClass is = last_class_;
  if (is == EventClass::engine || is == EventClass::memory)
    return OwnReader::is_record(event) ? EventClass::engine
           : is == EventClass::memory  ? EventClass::ignored
                                       : EventClass::unknown;
  if (is != EventClass::unknown) kineto_ = true;
  return is;
}

Converter::Row Converter::slice(const Event& event, Span span) {
  if (own_.active()) {
    own_.slice(event, span.start, span.end);
    return {};
  }
  const EventClass is = class_of(event);
  switch (is) {
    case EventClass::op:
    case EventClass::range:
      if (event.name.starts_with("ProfilerStep#")) return add_range(event, span, RangeKind::step);
      if (event.name.starts_with("enumerate(DataLoader)#")) return add_loader(event, span);
      if (is == EventClass::op) return add_op(event, span);
      return add_range(event, span, RangeKind::user);
    case EventClass::script: return add_range(event, span, RangeKind::script);
    case EventClass::call: return add_call(event, span);
    case EventClass::kernel:
    case EventClass::copy:
    case EventClass::fill: return add_work(event, span, is);
    case EventClass::sync: add_sync(event); return {};
    case EventClass::overhead: return add_overhead(event, span);
    case EventClass::engine:
      engine_ = true;
      own_.record(event, span.start, span.end);
      return {};
    case EventClass::unknown:
      // In a trace of no known dialect every slice is a named part of a thread's time; in the
      // others a category that is not known may be of a device or a tool.
      if (kineto_ || engine_) return {};
      return add_range(event, span, RangeKind::user);
    default: return {};
  }
}

void Converter::set_end(Row row, Ns end) {
  switch (row.table) {
    case Table::none: break;
    case Table::ops: trace_.ops.end[row.row] = end; break;
    case Table::calls: trace_.calls.end[row.row] = end; break;
    case Table::work: trace_.work.end[row.row] = end; break;
    case Table::ranges: trace_.ranges.end[row.row] = end; break;
    case Table::overheads: trace_.overheads.end[row.row] = end; break;
    case Table::loader: {
      Loader& loader = trace_.loader;
      loader.end[row.row] = end;
      int64_t wait = 0;
      if (!__builtin_sub_overflow(end, loader.start[row.row], &wait) && wait > 0)
        loader.wait[row.row] = wait;
      break;
    }
  }
}

void Converter::begin(const Event& event, Ns start) {
  last_ = std::max(last_, start);
  if (own_.active()) return;
  const Row row = slice(event, {start, start});
  const PairKey track{store_.id(event.pid), store_.id(event.tid)};
  if (!open_.contains(track) && !store_.take(kOpenBytes)) return;
  Open& open = open_[track];
  if (open.beyond > 0 || open_rows_ >= kMostOpen) {
    ++open.beyond;
    return;
  }
  ++open_rows_;
  open.rows.push_back(row);
}

void Converter::end(const Event& event, Ns time, uint64_t at) {
  last_ = std::max(last_, time);
  const auto found = open_.find({store_.id(event.pid), store_.id(event.tid)});
  if (found == open_.end() || (found->second.beyond == 0 && found->second.rows.empty())) {
    skip("ends (E) what never began", at);
    return;
  }
  Open& open = found->second;
  if (open.beyond > 0) {
    --open.beyond;
    return;
  }
  set_end(open.rows.back(), time);
  open.rows.pop_back();
  --open_rows_;
}

void Converter::instant(const Event& event, Ns time) {
  if (own_.active()) return;
  if (event.name == "[memory]") {
    kineto_ = true;
    add_memory(event, time);
    return;
  }
  if (class_of(event) == EventClass::engine) {
    engine_ = true;
    own_.record(event, time, time);
    return;
  }
  if (!kineto_ && !engine_) add_range(event, {time, time}, RangeKind::mark);
}

void Converter::counter(const Event& event, Ns time) {
  last_ = std::max(last_, time);
  if (own_.active()) {
    own_.counter(event, time);
    return;
  }
  const bool single = event.args.size() == 1;
  for (const Event::Argument& series : event.args) {
    const auto value = read_double(series.value);
    if (!value) continue;
    Counters& counters = trace_.counters;
    const uint32_t row = store_.add(counters);
    if (row == kNoRow) return;
    counters.time[row] = time;
    std::string name(event.name);
    if (!single) name.append(".").append(series.name);
    counters.name[row] = store_.string(name);
    counters.value[row] = *value;
  }
}

void Converter::remember_correlation(const Event& event, Span span, Row row, uint64_t correlation) {
  if (correlation != 0) {
    if (!correlated_) {
      correlated_ = true;
      uncorrelated_ = {};
      flows_ = {};
    }
    return;
  }
  if (correlated_ || !store_.take(sizeof(Uncorrelated))) return;
  uncorrelated_.push_back({{store_.id(event.pid), store_.id(event.tid)}, span, row});
}

void Converter::flow(const Event& event, Ns time) {
  if (correlated_ || own_.active() || event.id.empty()) return;
  if (event.cat == "fwdbwd" || !store_.take(sizeof(Flow))) return;
  flows_.push_back({{store_.id(event.pid), store_.id(event.tid)},
                    time,
                    store_.id(event.id),
                    event.ph == 's',
                    event.ph != 'f' || event.bp == "e"});
}

void Converter::metadata(const Event& event) {
  if (event.name == "thread_name")
    store_.name_track({store_.id(event.pid), store_.id(event.tid)}, event.arg("name"));
}

}  // namespace mill::prof
