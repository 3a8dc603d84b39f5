// What a record of the engine says, as a row of its table.
#include <algorithm>

#include "profiler/session/record_store.h"

namespace mill::prof {

namespace {

uint32_t byte(uint32_t packed, int k) {
  return packed >> (8 * k) & 0xffu;
}

}  // namespace

template <class T>
uint32_t RecordStore::add_span(T& table, const mill_trace_record& record) {
  const uint32_t row = table.add_one_of_many();
  table.start[row] = ns(record.start_ns);
  table.end[row] = ns(record.start_ns + record.duration_ns);
  table.thread[row] = thread(record.thread);
  return row;
}

void RecordStore::add_row(Trace& to, const mill_trace_record& record) {
  switch (record.kind) {
    case MILL_RECORD_OP:
    case MILL_RECORD_BACKWARD: add_op(to, record); break;
    case MILL_RECORD_COPY: add_copy(to, record); break;
    case MILL_RECORD_ALLOC:
    case MILL_RECORD_FREE: add_allocation(to, record); break;
    case MILL_RECORD_SYNC: add_sync(to, record); break;
    default: add_loader(to, record); break;
  }
}

void RecordStore::add_op(Trace& to, const mill_trace_record& record) {
  Ops& ops = to.ops;
  const uint32_t row = add_span(ops, record);
  const bool backward = record.kind == MILL_RECORD_BACKWARD;
  ops.name[row] = backward ? backward_ : op_name(record.op);
  ops.kind[row] = static_cast<uint8_t>(backward ? OpKind::backward_pass : OpKind::op);
  ops.number[row] = record.op;
  const uint32_t device = byte(record.memory, 2);
  if (device < base_.devices.size()) ops.device[row] = device;
  if (!backward) ops.instance[row] = record.instance;
  ops.forward[row] = record.forward;
  ops.bytes[row] = record.bytes;
  ops.flops[row] = record.flops;
  ops.tensor[row] = record.tensor;
  ops.tensor_version[row] = record.tensor_version;
  ops.storage[row] = record.storage;
  ops.dtypes[row] = record.dtypes;
  ops.exec[row] = record.exec_id;
  ops.scope[row] = engine_text(record.scope);
  ops.step[row] = static_cast<int64_t>(record.step);
  ops.status[row] = record.status;
}

void RecordStore::add_copy(Trace& to, const mill_trace_record& record) {
  Copies& copies = to.copies;
  const uint32_t row = add_span(copies, record);
  copies.from[row] = static_cast<uint8_t>(std::min(byte(record.memory, 0), 4u));
  copies.to[row] = static_cast<uint8_t>(std::min(byte(record.memory, 1), 4u));
  if (record.detail == MILL_RECORD_COPY_BLOCKING) copies.flags[row] |= kBlocking;
  if (byte(record.memory, 2) < base_.devices.size())
    copies.from_device[row] = byte(record.memory, 2);
  if (byte(record.memory, 3) < base_.devices.size()) copies.to_device[row] = byte(record.memory, 3);
  copies.bytes[row] = record.bytes;
  copies.tensor[row] = record.tensor;
  copies.tensor_version[row] = record.tensor_version;
  copies.storage[row] = record.storage;
  copies.source[row] = record.forward;
  copies.source_offset[row] = record.forward != 0 ? record.flops : 0;
  copies.instance[row] = record.instance;
  copies.exec[row] = record.exec_id;
  copies.scope[row] = engine_text(record.scope);
  copies.step[row] = static_cast<int64_t>(record.step);
  copies.status[row] = record.status;
}

void RecordStore::add_allocation(Trace& to, const mill_trace_record& record) {
  Allocations& rows = to.allocations;
  const uint32_t row = add_span(rows, record);
  const bool frees = record.kind == MILL_RECORD_FREE;
  rows.kind[row] = static_cast<uint8_t>(frees ? AllocKind::free : AllocKind::allocate);
  if (!frees) rows.how[row] = static_cast<uint8_t>(std::min(record.detail, 3u));
  rows.memory[row] = static_cast<uint8_t>(std::min(byte(record.memory, 0), 4u));
  if (byte(record.memory, 2) < base_.devices.size()) rows.device[row] = byte(record.memory, 2);
  rows.bytes[row] = record.bytes;
  rows.storage[row] = record.storage;
  rows.instance[row] = record.instance;
  rows.number[row] = record.op;
  rows.scope[row] = engine_text(record.scope);
  rows.step[row] = static_cast<int64_t>(record.step);
}

void RecordStore::add_sync(Trace& to, const mill_trace_record& record) {
  Syncs& rows = to.syncs;
  const uint32_t row = add_span(rows, record);
  const uint32_t kind = std::min(record.detail, 4u);
  rows.kind[row] = static_cast<uint8_t>(kind);
  rows.tensor[row] = record.tensor;
  rows.storage[row] = record.storage;
  rows.bytes[row] = record.bytes;
  rows.instance[row] = record.instance;
  rows.exec[row] = record.exec_id;
  rows.scope[row] = engine_text(record.scope);
  rows.step[row] = static_cast<int64_t>(record.step);
}

void RecordStore::add_loader(Trace& to, const mill_trace_record& record) {
  Loader& rows = to.loader;
  const uint32_t row = add_span(rows, record);
  rows.wait[row] = ns(record.wait_ns);
  rows.kind[row] = static_cast<uint8_t>(std::min(record.detail, 2u));
  rows.bytes[row] = record.bytes;
  rows.from[row] = static_cast<uint8_t>(std::min(byte(record.memory, 0), 4u));
  rows.to[row] = static_cast<uint8_t>(std::min(byte(record.memory, 1), 4u));
  rows.exec[row] = record.exec_id;
  rows.step[row] = static_cast<int64_t>(record.step);
  rows.loader[row] = record.storage;
  rows.batch[row] = record.instance;
}

}  // namespace mill::prof
