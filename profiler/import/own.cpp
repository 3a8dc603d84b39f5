#include "profiler/import/own.h"

#include <algorithm>
#include <limits>
#include <optional>
#include <string>
#include <type_traits>

#include "profiler/import/header.h"
#include "profiler/import/text.h"

namespace mill::prof {

namespace {

constexpr int64_t kFormat = 1;

template <class V>
V clamped(uint64_t value) {
  return static_cast<V>(std::min<uint64_t>(value, std::numeric_limits<V>::max()));
}

// The table that the category of an event of an export names; "": none.
std::string_view table_of(std::string_view category) {
  constexpr std::string_view kPrefix = "millrace.";
  if (category.starts_with(kPrefix)) return category.substr(kPrefix.size());
  if (category == "cpu_op") return "ops";
  if (category == "cuda_runtime" || category == "cuda_driver") return "calls";
  if (category == "kernel" || category == "gpu_memcpy" || category == "gpu_memset") return "work";
  return {};
}

template <class V>
V plain_value(std::string_view text) {
  if constexpr (std::is_floating_point_v<V>) {
    // What JSON has no number for is written as null.
    return static_cast<V>(read_double(text).value_or(std::numeric_limits<double>::quiet_NaN()));
  } else if constexpr (std::is_unsigned_v<V>) {
    return clamped<V>(read_unsigned(text).value_or(0));
  } else {
    const int64_t value = read_decimal(text, 0).value_or(0);
    return static_cast<V>(
        std::clamp<int64_t>(value, std::numeric_limits<V>::min(), std::numeric_limits<V>::max()));
  }
}

// Recording that costs a million times what it records, or a millisecond for an event, is damage.
double cost_in(const rapidjson::Value& object, const char* name) {
  const double value = read_double(text_in(object, name)).value_or(-1);
  return value >= 0 && value <= 1e6 ? value : -1;
}

// Numbers of streams and devices may be below zero, where a tool has it so; counts may not.
uint64_t count_in(const rapidjson::Value& object, const char* name) {
  return text_in(object, name).starts_with('-') ? 0 : number_in(object, name);
}

DeviceInfo device_in(const rapidjson::Value& one) {
  DeviceInfo info;
  std::string space;
  info.number = number_in(one, "number");
  info.name = clean_text(text_in(one, "name"), &space);
  info.description = clean_text(text_in(one, "description"), &space);
  const uint64_t kind = number_in(one, "kind");
  info.kind = kind <= 2 ? static_cast<DeviceKind>(kind) : DeviceKind::unknown;
  info.modelled = flag_in(one, "modelled");
  info.copy_engines = clamped<uint32_t>(number_in(one, "copy_engines"));
  info.host_threads = clamped<uint32_t>(number_in(one, "host_threads"));
  info.memory_bytes = number_in(one, "memory_bytes");
  info.memory_bytes_per_s = figure_in(one, "memory_bytes_per_s");
  info.to_device_bytes_per_s = figure_in(one, "to_device_bytes_per_s");
  info.to_host_bytes_per_s = figure_in(one, "to_host_bytes_per_s");
  info.peer_bytes_per_s = figure_in(one, "peer_bytes_per_s");
  info.link_generation = clamped<uint32_t>(number_in(one, "link_generation"));
  info.link_generation_max = clamped<uint32_t>(number_in(one, "link_generation_max"));
  info.link_width = clamped<uint32_t>(number_in(one, "link_width"));
  info.link_width_max = clamped<uint32_t>(number_in(one, "link_width_max"));
  return info;
}

}  // namespace

bool OwnReader::header(std::string_view json) {
  rapidjson::Document doc;
  if (!read_header(json, &doc) || !doc.IsObject() || signed_in(doc, "format") != kFormat)
    return false;
  if (active_ || trace_.rows() != 0) return false;
  active_ = true;
  std::string space;
  trace_.dialect = clean_text(text_in(doc, "dialect"), &space);
  trace_.cut_off = flag_in(doc, "cut_off");
  trace_.whole_graphs = flag_in(doc, "whole_graphs");
  trace_.has_device_clock = flag_in(doc, "has_device_clock");
  trace_.skipped = count_in(doc, "skipped");
  trace_.other_clock = count_in(doc, "other_clock");
  trace_.unfinished = count_in(doc, "unfinished");
  if (const auto cost = doc.FindMember("own_cost");
      cost != doc.MemberEnd() && cost->value.IsObject()) {
    const auto known = [&](const char* name) { return cost_in(cost->value, name); };
    trace_.own_cost = {known("share"), known("share_low"), known("event_ns"), known("budget")};
  }
  each_in(doc, "losses", [&](const rapidjson::Value& one) {
    trace_.losses.push_back(
        {std::string(clean_text(text_in(one, "where"), &space)), count_in(one, "lost")});
  });
  each_in(doc, "notes", [&](const rapidjson::Value& one) {
    trace_.notes.emplace_back(clean_text(text_of(one), &space));
  });
  each_in(doc, "recorded", [&](const rapidjson::Value& one) {
    if (!one.IsArray() || one.Size() != 2) return;
    const auto from = read_decimal(text_of(one[0]), 0);
    const auto to = read_decimal(text_of(one[1]), 0);
    if (from && to) trace_.recorded.push_back({*from, *to});
  });
  each_in(doc, "devices",
          [&](const rapidjson::Value& one) { trace_.devices.push_back(device_in(one)); });
  each_in(doc, "threads", [&](const rapidjson::Value& one) {
    trace_.threads.push_back({number_in(one, "process"), number_in(one, "number"),
                              std::string(clean_text(text_in(one, "name"), &space))});
  });
  each_in(doc, "streams", [&](const rapidjson::Value& one) {
    const int64_t device = signed_in(one, "device");
    const bool known = device >= 0 && static_cast<uint64_t>(device) < trace_.devices.size();
    trace_.streams.push_back(
        {known ? static_cast<uint32_t>(device) : kNoRow, number_in(one, "number"),
         std::string(clean_text(text_in(one, "name"), &space)), flag_in(one, "legacy_default")});
  });
  store_.index_lists();
  return true;
}

uint8_t OwnReader::code(const char* table, const char* column, std::string_view text) {
  const auto known = std::find_if(codes_.begin(), codes_.end(), [&](const Codes& one) {
    // Literals: one address for each place where they stand.
    return one.table == table && one.column == column;
  });
  if (known == codes_.end()) {
    Codes fresh{table, column, {}};
    for (uint32_t number = 0;; ++number) {
      const std::string_view name = code_text(table, column, number);
      if (number > 0 && name.empty()) break;
      fresh.texts.push_back(name);
    }
    codes_.push_back(std::move(fresh));
    return code(table, column, text);
  }
  for (size_t k = 0; k < known->texts.size(); ++k) {
    if (known->texts[k] == text) return static_cast<uint8_t>(k);
  }
  return 0;
}

uint32_t OwnReader::stream_of(const Event& event, std::string_view text) {
  const auto number = read_unsigned(text);
  if (!number) return kNoRow;
  if (const std::string_view of = event.arg("stream_device"); !of.empty()) {
    const auto device = read_unsigned(of);
    const bool known = device && *device != UINT64_MAX;  // -1: a stream of no device
    return store_.stream(known ? store_.device(*device) : kNoRow, *number);
  }
  // A copy has two devices, and its stream is of the one that is not the host.
  for (const char* key : {"device", "to_device", "from_device"}) {
    const std::string_view device = event.arg(key);
    if (device.empty()) continue;
    const uint32_t found =
        store_.find_stream(store_.device(read_unsigned(device).value_or(0)), *number);
    if (found != kNoRow) return found;
  }
  const uint32_t found = store_.find_stream(*number);
  if (found != kNoRow) return found;
  const std::string_view device = event.arg("device");
  return store_.stream(device.empty() ? kNoRow : store_.device(read_unsigned(device).value_or(0)),
                       *number);
}

template <class T>
void OwnReader::fill(T& table, uint32_t row, const char* table_name, const Event& event) {
  T::visit(table, [&](const ColumnInfo& info, auto& column) {
    using Value = typename std::remove_reference_t<decltype(column)>::value_type;
    const std::string_view key = info.name;
    if (info.unit == Unit::row || key == "start" || key == "end" || key == "time") return;
    if constexpr (std::is_same_v<Value, uint32_t>) {
      if (key == "name") {
        column[row] = event.arg("unnamed") == "true" ? 0 : store_.string(event.name);
        return;
      }
      if (info.unit == Unit::thread) {
        const std::string_view process = event.arg("process");
        const std::string_view number = event.arg("thread");
        column[row] = store_.thread(store_.id(process.empty() ? event.pid : process),
                                    store_.id(number.empty() ? event.tid : number));
        return;
      }
    }
    const Event::Argument* found = event.find(key);
    if (found == nullptr) return;
    const std::string_view text = found->value;
    if constexpr (std::is_same_v<Value, uint32_t>) {
      if (info.unit == Unit::string) {
        column[row] = store_.string(text);
        return;
      }
      if (info.unit == Unit::device) {
        if (const auto number = read_unsigned(text)) column[row] = store_.device(*number);
        return;
      }
      if (info.unit == Unit::stream) {
        column[row] = stream_of(event, text);
        return;
      }
    }
    if constexpr (std::is_same_v<Value, uint8_t>) {
      if (info.unit == Unit::code) {
        column[row] = code(table_name, info.name, text);
        return;
      }
      if (info.unit == Unit::flags) {
        column[row] = static_cast<uint8_t>(plain_value<uint8_t>(text) & ~kExcluded);
        return;
      }
    }
    column[row] = plain_value<Value>(text);
  });
}

bool OwnReader::slice(const Event& event, Ns start, Ns end) {
  const std::string_view wanted = table_of(event.cat);
  if (wanted.empty()) return false;
  if (const std::string_view text = event.arg("end"); !text.empty()) {
    if (const auto exact = read_decimal(text, 0)) end = *exact;
  }
  bool known = false;
  for_each_table(trace_, [&](const char* name, auto& table) {
    if (name != wanted) return;
    if constexpr (requires { table.start; }) {
      known = true;
      const uint32_t row = store_.add(table);
      if (row == kNoRow) return;
      table.start[row] = start;
      table.end[row] = end;
      fill(table, row, name, event);
    }
  });
  return known;
}

void OwnReader::counter(const Event& event, Ns time) {
  const uint32_t row = store_.add(trace_.counters);
  if (row == kNoRow) return;
  trace_.counters.time[row] = time;
  trace_.counters.name[row] = store_.string(event.name);
  trace_.counters.value[row] = plain_value<double>(event.arg("value"));
  if (const auto number = read_unsigned(event.device); !event.device.empty() && number)
    trace_.counters.device[row] = store_.device(*number);
}

}  // namespace mill::prof
