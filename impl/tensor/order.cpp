#include "tensor/order.h"

#include "tensor/storage.h"

namespace mill {

namespace {

class Hold {
 public:
  explicit Hold(StorageUse& use) : use_(use) {
    while (use_.busy.test_and_set(std::memory_order_acquire)) {
    }
  }
  ~Hold() { use_.busy.clear(std::memory_order_release); }
  Hold(const Hold&) = delete;
  Hold& operator=(const Hold&) = delete;

 private:
  StorageUse& use_;
};

struct Uses {
  Ticket write;
  Ticket reads[StorageUse::kReads];
  uint32_t n_reads;
};

Uses copy_of(Storage& storage) {
  const Hold hold(storage.use);
  Uses uses{storage.use.write, {}, storage.use.n_reads};
  for (uint32_t k = 0; k < uses.n_reads; ++k) uses.reads[k] = storage.use.reads[k];
  return uses;
}

}  // namespace

void order_read(Storage& storage, uint64_t stream) {
  const Ticket write = [&] {
    const Hold hold(storage.use);
    return storage.use.write;
  }();
  if (write.stream != 0 && write.stream != stream) [[unlikely]]
    storage.device->stream_table().wait(stream, write);
}

void order_write(Storage& storage, uint64_t stream) {
  const Uses uses = copy_of(storage);
  StreamTable& table = storage.device->stream_table();
  if (uses.write.stream != 0 && uses.write.stream != stream) [[unlikely]]
    table.wait(stream, uses.write);
  for (uint32_t k = 0; k < uses.n_reads; ++k) {
    if (uses.reads[k].stream != stream) [[unlikely]]
      table.wait(stream, uses.reads[k]);
  }
}

void mark_read(Storage& storage, const Ticket& ticket) {
  Ticket evicted;
  {
    const Hold hold(storage.use);
    StorageUse& use = storage.use;
    for (uint32_t k = 0; k < use.n_reads; ++k) {
      if (use.reads[k].stream != ticket.stream) continue;
      if (ticket.sequence > use.reads[k].sequence) use.reads[k] = ticket;
      return;
    }
    if (use.n_reads < StorageUse::kReads) {
      use.reads[use.n_reads++] = ticket;
      return;
    }
    evicted = use.reads[0];
    use.reads[0] = ticket;
  }
  // No room for one more stream: this one waits for the one that makes room, so that whoever waits
  // for this one has waited for both. The wait comes after the work, hence a later ticket.
  StreamTable& table = storage.device->stream_table();
  table.wait(ticket.stream, evicted);
  const Ticket later{ticket.stream, table.count_wait(ticket.stream)};
  const Hold hold(storage.use);
  for (uint32_t k = 0; k < storage.use.n_reads; ++k) {
    Ticket& read = storage.use.reads[k];
    if (read.stream == later.stream && read.sequence < later.sequence) read = later;
  }
}

void mark_write(Storage& storage, const Ticket& ticket) noexcept {
  const Hold hold(storage.use);
  storage.use.write = ticket;
  storage.use.n_reads = 0;
}

void host_wait_write(Storage& storage) {
  const Uses uses = copy_of(storage);
  if (uses.write.stream != 0) storage.device->stream_table().host_wait(uses.write);
}

void host_wait_all(Storage& storage) {
  const Uses uses = copy_of(storage);
  StreamTable& table = storage.device->stream_table();
  if (uses.write.stream != 0) table.host_wait(uses.write);
  for (uint32_t k = 0; k < uses.n_reads; ++k) table.host_wait(uses.reads[k]);
}

bool uses_done(Storage& storage) noexcept {
  const Uses uses = copy_of(storage);
  if (uses.write.stream == 0 && uses.n_reads == 0) return true;
  StreamTable& table = storage.device->stream_table();
  if (!table.done(uses.write)) return false;
  for (uint32_t k = 0; k < uses.n_reads; ++k) {
    if (!table.done(uses.reads[k])) return false;
  }
  return true;
}

void note_foreign_uses(Storage& storage) noexcept {
  const Uses uses = copy_of(storage);
  Allocator& allocator = storage.device->allocator();
  const auto note = [&](const Ticket& ticket) {
    if (ticket.stream == 0 || ticket.stream == storage.block->stream) return;
    try {
      if (!storage.device->stream_table().done(ticket))
        allocator.record_use(storage.block, ticket.stream);
    } catch (...) {
      // No room for the note: the host waits instead, so that nobody gets the memory too early.
      try {
        storage.device->stream_table().host_wait(ticket);
      } catch (...) {  // NOLINT(bugprone-empty-catch): a lost device uses nothing any more
      }
    }
  };
  note(uses.write);
  for (uint32_t k = 0; k < uses.n_reads; ++k) note(uses.reads[k]);
}

}  // namespace mill
