// What can be said only when the whole file was read: what belongs together, which numbers can be
// trusted, and what was odd.
#include <algorithm>
#include <string>
#include <tuple>
#include <type_traits>

#include "profiler/import/convert.h"
#include "profiler/import/text.h"

namespace mill::prof {

void Converter::finish() {
  close_open();
  if (!own_.active() && !engine_) {
    correlate_by_flows();
    find_whole_graphs();
    check_instances();
    link_backward();
    apply_syncs();
  }
  if (late_base_ != 0) shift(late_base_);
  store_.name_all();
  for (DeviceInfo& device : trace_.devices) {
    const auto known = properties_.find(device.number);
    if (own_.active() || known == properties_.end()) continue;
    device.name = known->second.name;
    device.description = known->second.description;
    device.memory_bytes = known->second.memory_bytes;
  }
  if (!own_.active()) {
    trace_.dialect = engine_ ? "millrace" : kineto_ ? "kineto" : "chrome";
    // The engine's timeline holds what the host did; a device is another source.
    if (engine_ && trace_.work.empty()) trace_.has_device_clock = false;
  }
  write_notes();
}

void Converter::close_open() {
  uint64_t count = 0;
  for (const auto& [track, open] : open_) {
    count += open.rows.size() + open.beyond;
    for (const Row row : open.rows) {
      set_end(row, last_);
      if (row.table == Table::calls) trace_.calls.flags[row.row] |= kUnfinished;
      if (row.table == Table::work) ++trace_.unfinished;
    }
  }
  if (count > 0)
    trace_.notes.push_back(std::to_string(count) +
                           " events begin (B) and do not end (E): they were given the last time of "
                           "the file as their end.");
}

// A flow goes from a slice of the host to one of a device; its number becomes the correlation of
// both.
void Converter::correlate_by_flows() {
  if (correlated_ || flows_.empty()) return;
  const auto before = [](const Uncorrelated& a, const Uncorrelated& b) {
    return std::tie(a.track.first, a.track.second, a.span.start) <
           std::tie(b.track.first, b.track.second, b.span.start);
  };
  std::stable_sort(uncorrelated_.begin(), uncorrelated_.end(), before);
  for (const Flow& flow : flows_) {
    // Of slices that begin before it, the last one is the innermost that can be around it.
    const Uncorrelated wanted{flow.track, {flow.time, flow.time}, {}};
    auto at = std::upper_bound(uncorrelated_.begin(), uncorrelated_.end(), wanted, before);
    const auto next = at;
    const auto fits = [&](auto one) {
      return one != uncorrelated_.end() && one->track == flow.track;
    };
    if (at != uncorrelated_.begin() && fits(at - 1) && (at - 1)->span.end >= flow.time) {
      --at;
    } else if (!flow.encloses && fits(next)) {
      at = next;
    } else {
      continue;
    }
    if (at->row.table == Table::calls && flow.begins)
      trace_.calls.correlation[at->row.row] = flow.id;
    if (at->row.table == Table::work && !flow.begins)
      trace_.work.correlation[at->row.row] = flow.id;
  }
}

// Nodes that were recorded are several pieces of work of one launch, or say which node they are; a
// graph that was recorded as a whole is one piece, or none. No writer says which it did.
void Converter::find_whole_graphs() {
  const Calls& calls = trace_.calls;
  const Work& work = trace_.work;
  std::vector<std::pair<uint64_t, uint32_t>> graphs;  // correlation, pieces of work
  std::vector<uint64_t> others;
  for (uint32_t row = 0; row < calls.size(); ++row) {
    if (calls.kind[row] == static_cast<uint8_t>(CallKind::graph_launch))
      graphs.emplace_back(calls.correlation[row], 0);
  }
  if (graphs.empty() || work.empty()) return;
  std::sort(graphs.begin(), graphs.end());
  for (uint32_t row = 0; row < calls.size(); ++row) others.push_back(calls.correlation[row]);
  std::sort(others.begin(), others.end());
  bool has_piece = false;
  bool unclaimed = false;
  for (uint32_t row = 0; row < work.size(); ++row) {
    if (work.graph_node[row] != 0) return;
    const uint64_t correlation = work.correlation[row];
    const auto graph = std::lower_bound(graphs.begin(), graphs.end(),
                                        std::pair<uint64_t, uint32_t>(correlation, 0));
    if (correlation != 0 && graph != graphs.end() && graph->first == correlation) {
      if (++graph->second > 1) return;
      has_piece = true;
    } else if (correlation == 0 || !std::binary_search(others.begin(), others.end(), correlation)) {
      unclaimed = true;
    }
  }
  // What no launch claims may be what a graph without a piece did.
  trace_.whole_graphs = has_piece || !unclaimed;
}

// "External id" is the number of an op in some writers' files and a correlation in others'.
void Converter::check_instances() {
  Ops& ops = trace_.ops;
  Calls& calls = trace_.calls;
  Work& work = trace_.work;
  std::vector<std::pair<uint64_t, uint32_t>> ids;
  ids.reserve(ops.size());
  for (uint32_t row = 0; row < ops.size(); ++row) {
    if (ops.instance[row] != 0) ids.emplace_back(ops.instance[row], row);
  }
  std::sort(ids.begin(), ids.end());
  for (size_t k = 0; k + 1 < ids.size(); ++k) {
    if (ids[k].first != ids[k + 1].first) continue;
    ops.instance[ids[k].second] = 0;
    ops.instance[ids[k + 1].second] = 0;
  }
  const auto op_of = [&](uint64_t id) {
    const auto at = std::lower_bound(ids.begin(), ids.end(), std::pair<uint64_t, uint32_t>(id, 0));
    const bool found = at != ids.end() && at->first == id && ops.instance[at->second] == id;
    return found ? at->second : kNoRow;
  };
  bool numbers_ops = false;
  for (uint32_t row = 0; row < calls.size() && !numbers_ops; ++row)
    numbers_ops = calls.instance[row] != 0 && calls.instance[row] != calls.correlation[row];
  for (uint32_t row = 0; row < work.size() && !numbers_ops; ++row)
    numbers_ops = work.instance[row] != 0 && work.instance[row] != work.correlation[row];
  for (uint32_t row = 0; row < calls.size(); ++row) {
    if (calls.instance[row] == 0) continue;
    const uint32_t op = numbers_ops ? op_of(calls.instance[row]) : kNoRow;
    const bool inside = op != kNoRow && ops.thread[op] == calls.thread[row] &&
                        ops.start[op] <= calls.start[row] && calls.start[row] <= ops.end[op];
    if (!inside) calls.instance[row] = 0;
  }
  for (uint32_t row = 0; row < work.size(); ++row) {
    if (work.instance[row] == 0) continue;
    const uint32_t op = numbers_ops ? op_of(work.instance[row]) : kNoRow;
    if (op == kNoRow || ops.start[op] > work.start[row]) work.instance[row] = 0;
  }
}

// An op of a backward pass has the sequence number of the op that it differentiates: the last one
// to begin with that number before it. Numbers are counted per thread, so one that several threads
// used says nothing.
void Converter::link_backward() {
  Ops& ops = trace_.ops;
  std::sort(sequences_.begin(), sequences_.end(), [&](const Sequence& a, const Sequence& b) {
    return std::tie(a.number, a.backward, ops.start[a.op], a.op) <
           std::tie(b.number, b.backward, ops.start[b.op], b.op);
  });
  for (size_t begin = 0; begin < sequences_.size();) {
    size_t middle = begin;
    bool one_thread = true;
    for (; middle < sequences_.size() && sequences_[middle].number == sequences_[begin].number &&
           !sequences_[middle].backward;
         ++middle)
      one_thread =
          one_thread && ops.thread[sequences_[middle].op] == ops.thread[sequences_[begin].op];
    size_t end = middle;
    size_t forward = begin;  // one past the last that begins early enough
    for (; end < sequences_.size() && sequences_[end].number == sequences_[begin].number; ++end) {
      const uint32_t op = sequences_[end].op;
      while (forward < middle && ops.start[sequences_[forward].op] <= ops.start[op]) ++forward;
      if (one_thread && forward > begin) ops.forward[op] = ops.instance[sequences_[forward - 1].op];
    }
    begin = end;
  }
  sequences_ = {};
}

// Events of waits stand on device tracks; what they say belongs to the calls that wait.
void Converter::apply_syncs() {
  if (syncs_.empty()) return;
  Calls& calls = trace_.calls;
  std::vector<std::pair<uint64_t, uint32_t>> rows;
  for (uint32_t row = 0; row < calls.size(); ++row) {
    switch (static_cast<CallKind>(calls.kind[row])) {
      case CallKind::event_record:
      case CallKind::event_wait:
      case CallKind::sync_event:
      case CallKind::sync_stream:
      case CallKind::sync_device: rows.emplace_back(calls.correlation[row], row); break;
      default: break;
    }
  }
  std::sort(rows.begin(), rows.end());
  const auto call_of = [&](uint64_t correlation) {
    const auto at =
        std::lower_bound(rows.begin(), rows.end(), std::pair<uint64_t, uint32_t>(correlation, 0));
    return at != rows.end() && at->first == correlation ? at->second : kNoRow;
  };
  const auto place = [&](uint32_t row, uint32_t device, uint32_t stream) {
    if (calls.device[row] == kNoRow) calls.device[row] = device;
    if (calls.stream[row] == kNoRow) calls.stream[row] = stream;
  };
  for (const Sync& sync : syncs_) {
    const uint32_t row = call_of(sync.correlation);
    if (row != kNoRow) {
      place(row, sync.device, sync.stream);
      const auto kind = static_cast<CallKind>(calls.kind[row]);
      if (kind == CallKind::event_wait || kind == CallKind::sync_event)
        calls.waits_for[row] = sync.record;
    }
    const uint32_t record = sync.record != 0 ? call_of(sync.record) : kNoRow;
    if (record != kNoRow && calls.kind[record] == static_cast<uint8_t>(CallKind::event_record))
      place(record, sync.device, sync.record_stream);
  }
  syncs_ = {};
}

void Converter::shift(Ns by) {
  for_each_table(trace_, [&](const char*, auto& table) {
    using T = std::remove_reference_t<decltype(table)>;
    T::visit(table, [&](const ColumnInfo& info, auto& column) {
      const std::string_view name = info.name;
      if constexpr (std::is_same_v<typename std::remove_reference_t<decltype(column)>::value_type,
                                   int64_t>) {
        if (name == "start" || name == "end" || name == "time") {
          for (int64_t& value : column) value = add_clamped(value, by);
        }
      }
    });
  });
}

void Converter::write_notes() {
  for (const Skipped& one : skipped_) {
    const std::string where = " (at byte " + std::to_string(one.first) + " of the text)";
    if (one.count == 1) {
      trace_.notes.push_back("One event" + where + " " + one.reason + " and was left out.");
    } else {
      trace_.notes.push_back(std::to_string(one.count) + " events were left out; the first" +
                             where + " " + one.reason + ".");
    }
  }
  if (store_.lost() > 0) {
    trace_.losses.push_back({"store", store_.lost()});
    trace_.notes.push_back(std::to_string(store_.lost()) +
                           " rows were left out because the store was full.");
  }
}

}  // namespace mill::prof
