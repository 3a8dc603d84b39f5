// A loader's queue, played again: the same batches, asked for after the same work, made by more
// workers or further ahead.
#pragma once

#include <cmath>
#include <cstdint>
#include <functional>
#include <vector>

#include "profiler/timeline/rows.h"
#include "profiler/timeline/trace.h"

namespace mill::prof::rule {

// The loader of trace.h: batch n is made by worker n % workers, in order, as soon as that has made
// its last one and the program asks for batch n - depth, whose call gives back the memory of the
// one before. What the program does from one batch to its asking for the next takes as long as it
// did. Batches whose making began before the first was asked for are as they were.
class LoaderQueue {
 public:
  // workers: the threads that make its batches now; empty: the thread that asks makes them.
  LoaderQueue(const Trace& trace, Interval window, uint64_t number,
              const std::vector<uint32_t>& workers);

  // Whether the recording says who made the batches that were waited for: it numbers them.
  bool known() const { return known_; }
  // How often in the window what had been made ahead was given up: the position was set, or the
  // depth.
  uint32_t restarts() const { return restarts_; }
  // How many batches it was seen to be ahead, at most; 0 where no worker makes any.
  uint32_t depth() const { return depth_; }
  // The rows of `next` in the window, by time.
  const std::vector<uint32_t>& rows() const { return rows_; }
  // Per row how long it waited.
  std::vector<Ns> recorded() const;
  // How long the window would be if no batch was waited for: where the device is busy for longer
  // than the program takes from batch to batch, that is how fast they are asked for in the end.
  void set_pace(Ns window);
  // How many make batches as fast as the program would ask for them if it never waited.
  double enough_workers() const { return std::ceil(enough_ / pace_); }
  // Per row how long it would wait. slower: making a batch takes so many times as long. depth is
  // at least 1 and workers, as in a loader.
  std::vector<Ns> waits(uint32_t workers, uint32_t depth, double slower = 1) const;

 private:
  struct Take {
    Ns asked = 0;
    Ns given = 0;  // the wait is over
    uint64_t batch = 0;
    uint32_t first = 0;   // the first take since the position was set
    Ns set = kFirstTime;  // of a first take: when the position was
    bool made = false;    // what follows is known
    bool fixed = false;   // its making began before the first was asked for
    Ns begun = 0;
    Ns done = 0;
    Ns lag = 0;  // from when its worker could have begun until it did
  };
  void find_takes(const Trace& trace, uint64_t number, const std::vector<uint32_t>& workers);
  void find_depth();

  std::vector<Take> takes_;  // of the whole recording
  std::vector<uint32_t> rows_;
  std::vector<uint32_t> makers_;  // threads, by take
  uint32_t first_ = 0;            // the first take in the window
  uint32_t last_ = 0;             // after the last
  uint32_t depth_ = 0;
  uint32_t restarts_ = 0;
  Ns making_ = 0;    // in the window
  Ns between_ = 0;   // from one batch to the asking for the next
  Ns lead_ = 0;      // from the beginning of the window to the first
  double pace_ = 1;  // so many times as long is it from batch to batch, for the device
  double enough_ = 1;
  bool known_ = false;
};

struct QueueFix {
  bool none = false;    // neither is of use
  bool deeper = false;  // the same workers, further ahead; else more workers
  uint32_t workers = 0;
  uint32_t depth = 0;
  std::vector<Ns> waits;  // by LoaderQueue::rows()
  std::vector<Ns> waits_lower;
};
// The smallest change that takes away nearly all of the waiting that can be taken away. workers:
// how many there are, 0: the thread that asks makes the batches. slower: how many times as long a
// batch takes if there are so many.
QueueFix fix_queue(const LoaderQueue& queue, uint32_t workers, uint32_t most_workers,
                   const std::function<double(uint32_t)>& slower);

}  // namespace mill::prof::rule
