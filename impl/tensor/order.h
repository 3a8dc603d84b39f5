// Order between streams, per storage: who wrote it last, and who has read it since on which stream.
//
// An op waits for the write of what it reads, and for the write and the reads of what it writes,
// where those happened on other streams. On one stream nothing is asked of the device. On an inline
// device nothing at all happens here.
#pragma once

#include <atomic>
#include <cstdint>

#include "device/stream_table.h"

namespace mill {

struct Storage;

struct StorageUse {
  static constexpr uint32_t kReads = 3;

  std::atomic_flag busy = ATOMIC_FLAG_INIT;  // two threads may read one storage
  uint8_t n_reads = 0;
  Ticket write;
  Ticket reads[kReads];  // one per stream, since the write
};

// Before work on `stream` reads or writes the storage: the stream waits for what it must. Throws
// what the device reports.
void order_read(Storage& storage, uint64_t stream);
void order_write(Storage& storage, uint64_t stream);
// After it has been submitted.
void mark_read(Storage& storage, const Ticket& ticket);
void mark_write(Storage& storage, const Ticket& ticket) noexcept;
// The host waits for the last write, or for every use.
void host_wait_write(Storage& storage);
void host_wait_all(Storage& storage);
// Without waiting.
bool uses_done(Storage& storage) noexcept;
// The storage's memory is about to be freed: other streams that used it are told to the allocator.
void note_foreign_uses(Storage& storage) noexcept;

}  // namespace mill
