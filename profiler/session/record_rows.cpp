// What a record of the engine says, as a row of its table.
#include <algorithm>
#include <utility>

#include "profiler/session/record_store.h"

namespace mill::prof {

namespace {

uint32_t byte(uint32_t packed, int k) {
  return packed >> (8 * k) & 0xffu;
}

template <class T>
uint32_t add_span(const RecordIds& ids, T& table, const mill_trace_record& record) {
  const uint32_t row = table.add_one_of_many();
  table.start[row] = record_ns(record.start_ns);
  table.end[row] = record_ns(record.start_ns + record.duration_ns);
  table.thread[row] = ids.thread(record.thread);
  return row;
}

void add_op(const RecordIds& ids, Trace& to, const mill_trace_record& record) {
  Ops& ops = to.ops;
  const uint32_t row = add_span(ids, ops, record);
  const bool backward = record.kind == MILL_RECORD_BACKWARD;
  ops.name[row] = backward ? ids.backward : ids.op_name(record.op);
  ops.kind[row] = static_cast<uint8_t>(backward ? OpKind::backward_pass : OpKind::op);
  ops.number[row] = record.op;
  const uint32_t device = byte(record.memory, 2);
  if (device < to.devices.size()) ops.device[row] = device;
  if (!backward) ops.instance[row] = record.instance;
  ops.forward[row] = record.forward;
  ops.bytes[row] = record.bytes;
  ops.flops[row] = record.flops;
  ops.tensor[row] = record.tensor;
  ops.tensor_version[row] = record.tensor_version;
  ops.storage[row] = record.storage;
  ops.dtypes[row] = record.dtypes;
  ops.exec[row] = record.exec_id;
  ops.scope[row] = ids.engine_text(record.scope);
  ops.step[row] = static_cast<int64_t>(record.step);
  ops.status[row] = record.status;
}

void add_copy(const RecordIds& ids, Trace& to, const mill_trace_record& record) {
  Copies& copies = to.copies;
  const uint32_t row = add_span(ids, copies, record);
  copies.from[row] = static_cast<uint8_t>(std::min(byte(record.memory, 0), 4u));
  copies.to[row] = static_cast<uint8_t>(std::min(byte(record.memory, 1), 4u));
  if (record.detail == MILL_RECORD_COPY_BLOCKING) copies.flags[row] |= kBlocking;
  if (byte(record.memory, 2) < to.devices.size()) copies.from_device[row] = byte(record.memory, 2);
  if (byte(record.memory, 3) < to.devices.size()) copies.to_device[row] = byte(record.memory, 3);
  copies.bytes[row] = record.bytes;
  copies.tensor[row] = record.tensor;
  copies.tensor_version[row] = record.tensor_version;
  copies.storage[row] = record.storage;
  copies.source[row] = record.forward;
  copies.source_offset[row] = record.forward != 0 ? record.flops : 0;
  copies.instance[row] = record.instance;
  copies.exec[row] = record.exec_id;
  copies.scope[row] = ids.engine_text(record.scope);
  copies.step[row] = static_cast<int64_t>(record.step);
  copies.status[row] = record.status;
}

void add_allocation(const RecordIds& ids, Trace& to, const mill_trace_record& record) {
  Allocations& rows = to.allocations;
  const uint32_t row = add_span(ids, rows, record);
  const bool frees = record.kind == MILL_RECORD_FREE;
  rows.kind[row] = static_cast<uint8_t>(frees ? AllocKind::free : AllocKind::allocate);
  if (!frees) rows.how[row] = static_cast<uint8_t>(std::min(record.detail, 3u));
  rows.memory[row] = static_cast<uint8_t>(std::min(byte(record.memory, 0), 4u));
  if (byte(record.memory, 2) < to.devices.size()) rows.device[row] = byte(record.memory, 2);
  rows.bytes[row] = record.bytes;
  rows.storage[row] = record.storage;
  rows.instance[row] = record.instance;
  rows.number[row] = record.op;
  rows.scope[row] = ids.engine_text(record.scope);
  rows.step[row] = static_cast<int64_t>(record.step);
}

void add_sync(const RecordIds& ids, Trace& to, const mill_trace_record& record) {
  Syncs& rows = to.syncs;
  const uint32_t row = add_span(ids, rows, record);
  const uint32_t kind = std::min(record.detail, 4u);
  rows.kind[row] = static_cast<uint8_t>(kind);
  rows.tensor[row] = record.tensor;
  rows.storage[row] = record.storage;
  rows.bytes[row] = record.bytes;
  rows.instance[row] = record.instance;
  rows.exec[row] = record.exec_id;
  rows.scope[row] = ids.engine_text(record.scope);
  rows.step[row] = static_cast<int64_t>(record.step);
}

void add_loader(const RecordIds& ids, Trace& to, const mill_trace_record& record) {
  Loader& rows = to.loader;
  const uint32_t row = add_span(ids, rows, record);
  rows.wait[row] = record_ns(record.wait_ns);
  rows.kind[row] = static_cast<uint8_t>(std::min(record.detail, 2u));
  rows.bytes[row] = record.bytes;
  rows.from[row] = static_cast<uint8_t>(std::min(byte(record.memory, 0), 4u));
  rows.to[row] = static_cast<uint8_t>(std::min(byte(record.memory, 1), 4u));
  rows.exec[row] = record.exec_id;
  rows.step[row] = static_cast<int64_t>(record.step);
  rows.loader[row] = record.storage;
  rows.batch[row] = record.instance;
}

}  // namespace

void add_record(const RecordIds& ids, const mill_trace_record& record, Trace& to) {
  switch (record.kind) {
    case MILL_RECORD_OP:
    case MILL_RECORD_BACKWARD: add_op(ids, to, record); break;
    case MILL_RECORD_COPY: add_copy(ids, to, record); break;
    case MILL_RECORD_ALLOC:
    case MILL_RECORD_FREE: add_allocation(ids, to, record); break;
    case MILL_RECORD_SYNC: add_sync(ids, to, record); break;
    default: add_loader(ids, to, record); break;
  }
}

uint32_t RecordIds::thread(uint32_t number) const {
  if (number == last_thread.first && last_thread.second != kNoRow) return last_thread.second;
  const auto found = threads.find(number);
  if (found == threads.end()) return kNoRow;
  last_thread = {number, found->second};
  return found->second;
}

uint32_t RecordIds::op_name(int32_t op) const {
  const auto small = static_cast<uint32_t>(op);
  if (small < builtin_names.size()) return builtin_names[small];
  const auto found = op_names.find(op);
  return found != op_names.end() ? found->second : 0;
}

uint32_t RecordIds::engine_text(uint32_t id) const {
  const uint32_t text = id > 0 && id < engine_texts.size() ? engine_texts[id] : 0;
  return text != kNoRow ? text : 0;
}

Trace RecordCopy::tables() {
  const auto of = [&](int32_t kind) { return records_[0].count(kind) + records_[1].count(kind); };
  rows_.ops.reserve(of(MILL_RECORD_OP) + of(MILL_RECORD_BACKWARD));
  rows_.copies.reserve(of(MILL_RECORD_COPY));
  rows_.allocations.reserve(of(MILL_RECORD_ALLOC) + of(MILL_RECORD_FREE));
  rows_.syncs.reserve(of(MILL_RECORD_SYNC));
  rows_.loader.reserve(of(MILL_RECORD_LOADER));
  for (const RecordChunks& half : records_)
    half.for_each([&](const mill_trace_record& record) { add_record(ids_, record, rows_); });
  for_each_table(rows_, [](const char*, auto& table) { table.trim(); });
  return std::move(rows_);
}

}  // namespace mill::prof
