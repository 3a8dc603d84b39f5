// Records that two readers take from one source: the program, and a profiler's session beside it.
// What one of them brings up is kept for the other, as far as that wants it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <utility>

namespace mill {

enum class Reader : uint8_t { program = 0, session = 1 };

inline Reader other_of(Reader reader) {
  return reader == Reader::program ? Reader::session : Reader::program;
}

// Not synchronised. Where memory for what is kept runs out, or more than `most` is waiting, records
// count as lost for who would have got them. Who does not listen neither gets nor loses any.
template <class Record>
class Readers {
 public:
  explicit Readers(size_t most) : most_(most) {}

  void listen(Reader reader, bool on) { of(reader).listens = on; }
  // Whether something is there that only this reader has not had.
  bool due(Reader reader) const { return !of(reader).records.empty() || of(reader).lost > 0; }
  size_t waiting(Reader reader) const { return of(reader).records.size(); }
  uint64_t lost(Reader reader) const { return of(reader).lost; }
  void forget(Reader reader) {
    of(reader).records.clear();
    of(reader).lost = 0;
  }

  // fetch(out, capacity, lost): takes from the source, in its order; fewer than capacity: there are
  // no more. wants(reader, record): whether it gets the record. Gives how many were written; fewer
  // than capacity: there are no more. Where fetch throws, what came before is given all the same,
  // and the next call meets the failure again.
  template <class Fetch, class Wants>
  size_t take(Reader me, Record* out, size_t capacity, uint64_t* lost, Fetch&& fetch,
              Wants&& wants) {
    Kept& mine = of(me);
    Kept& theirs = of(other_of(me));
    size_t n = 0;
    for (; n < capacity && !mine.records.empty(); mine.records.pop_front())
      out[n++] = mine.records.front();
    for (bool more = true; more && n < capacity;) {
      const size_t room = capacity - n;
      uint64_t gone = 0;
      size_t came = 0;
      try {
        came = fetch(out + n, room, &gone);
      } catch (...) {
        if (n == 0) throw;
        break;
      }
      mine.lost += gone;
      if (theirs.listens) theirs.lost += gone;
      more = came == room;
      size_t kept = n;
      for (size_t k = n; k < n + came; ++k) {
        if (theirs.listens && wants(other_of(me), out[k])) keep(theirs, out[k]);
        if (wants(me, out[k])) out[kept++] = out[k];
      }
      n = kept;
    }
    *lost = std::exchange(mine.lost, 0);
    return n;
  }

  // Brings up all there is now: before what either wants changes. Allocates nothing but for what is
  // kept.
  template <class Fetch, class Wants>
  void settle(Fetch&& fetch, Wants&& wants) {
    Record scratch[kPiece];
    for (bool more = true; more;) {
      uint64_t gone = 0;
      const size_t came = fetch(scratch, kPiece, &gone);
      more = came == kPiece;
      for (const Reader reader : {Reader::program, Reader::session}) {
        if (!of(reader).listens) continue;
        of(reader).lost += gone;
        for (size_t k = 0; k < came; ++k) {
          if (wants(reader, scratch[k])) keep(of(reader), scratch[k]);
        }
      }
    }
  }

 private:
  static constexpr size_t kPiece = 64;
  struct Kept {
    std::deque<Record> records;
    uint64_t lost = 0;
    bool listens = false;
  };
  Kept& of(Reader reader) { return kept_[static_cast<size_t>(reader)]; }
  const Kept& of(Reader reader) const { return kept_[static_cast<size_t>(reader)]; }
  void keep(Kept& kept, const Record& record) {
    try {
      if (kept.records.size() < most_) {
        kept.records.push_back(record);
        return;
      }
    } catch (...) {  // NOLINT(bugprone-empty-catch): counted below
    }
    ++kept.lost;
  }

  size_t most_;
  Kept kept_[2];
};

}  // namespace mill
