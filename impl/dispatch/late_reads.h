// Small reads that answer with what the same read asked for some steps before, so that the host
// does not wait for the step that it has just begun.
#pragma once

#include <cstdint>
#include <vector>

#include "dispatch/transfer.h"

namespace mill {

// Of one exec: used by one thread at a time. A read is the same as one of an earlier step if it is
// the n-th of its step, as that was, and of as many elements of the same dtype.
class LateReads {
 public:
  static constexpr uint32_t kMostSteps = 8;
  static constexpr uint64_t kMostBytes = 1024;
  static constexpr size_t kMostReads = 64;  // of a step; the others answer with their own

  // steps: 1 to kMostSteps.
  explicit LateReads(uint32_t steps) : steps_(steps) {}

  // As read_host, for at most kMostBytes. Where nothing was asked for exactly so many steps ago it
  // waits for the values of this step.
  void read(Exec& exec, mill_tensor& tensor, void* data, uint64_t bytes);

 private:
  struct Asked {
    uint64_t step = 0;
    Ref<mill_future> values;
  };
  struct Place {
    int32_t dtype = 0;
    uint64_t bytes = 0;
    std::vector<Asked> asked;  // oldest first, at most steps_ of them between two reads
  };
  Place* place_of(const Exec& exec, const mill_tensor& tensor);

  const uint32_t steps_;
  uint64_t step_ = UINT64_MAX;
  size_t next_ = 0;  // how many reads the step has had
  std::vector<Place> places_;
};

// Late where the exec says so and the tensor is small enough, else as read_host.
void read_late(Exec& exec, mill_tensor& tensor, void* data, uint64_t bytes);

}  // namespace mill
