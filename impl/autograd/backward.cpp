#include "autograd/backward.h"

#include "autograd/pass.h"

namespace mill {

namespace {

// Puts a group under this backward's control, all of the tape's groups or none.
class SinkLocks {
 public:
  explicit SinkLocks(const mill_tape& tape) : tape_(tape) {
    for (; held_ < tape.sink_count(); ++held_) {
      if (!tape.sink(held_)->try_begin_backward()) {
        unlock();
        fail(MILL_E_BUSY, "a parameter group of this tape is in use by another backward");
      }
    }
  }
  ~SinkLocks() { unlock(); }
  SinkLocks(const SinkLocks&) = delete;
  SinkLocks& operator=(const SinkLocks&) = delete;

 private:
  void unlock() noexcept {
    while (held_ > 0) tape_.sink(--held_)->end_backward();
  }
  const mill_tape& tape_;
  size_t held_ = 0;
};

// Without a record of the whole pass there would be only its ops.
class BackwardRecord {
 public:
  explicit BackwardRecord(Exec& exec) : trace_(exec.trace), on_(trace_.on(MILL_TRACE_BACKWARD)) {
    if (on_) record_ = trace_.begin(MILL_RECORD_BACKWARD);
  }
  ~BackwardRecord() {
    if (on_) trace_.end(record_);
  }
  BackwardRecord(const BackwardRecord&) = delete;
  BackwardRecord& operator=(const BackwardRecord&) = delete;

 private:
  ExecTrace& trace_;
  bool on_;
  mill_trace_record record_{};
};

void check_device(mill_tape& tape, Exec& exec) {
  if (exec.context.get() != tape.context.get()) {
    fail_argument(MILL_E_DEVICE, 1, "the exec belongs to another context than the tape");
  }
}

}  // namespace

void backward(mill_tape& tape, Exec& exec, mill_tensor& loss, mill_tensor* seed, bool keep) {
  check_device(tape, exec);
  const TapeGuard guard(tape);
  const PassMark pass_mark(tape);
  {
    const SinkLocks locks(tape);
    const BackwardRecord record(exec);
    // Recording on a tape that ends with this call would be thrown away.
    const bool record_ops = exec.recorder && (keep || exec.recorder != &tape.face);
    const RecorderScope scope(exec, record_ops ? exec.recorder : nullptr);
    Pass pass(tape, exec, false, keep);
    try {
      pass.run(loss, seed);
    } catch (...) {
      pass.clear();
      tape.one.reset();  // a failed call keeps nothing
      if (pass.running()) {
        for (Leaf& leaf : tape.leaves) {
          if (leaf.sink) leaf.sink->set_fresh(leaf.sink_index, false);
        }
        if (!keep) tape.reset();
      }
      throw;
    }
    pass.clear();
  }
  if (!keep) tape.reset();
}

std::vector<TensorRef> gradient(mill_tape& tape, Exec& exec, mill_tensor& y, mill_tensor* seed,
                                mill_tensor* const* inputs, uint32_t n) {
  check_device(tape, exec);
  const TapeGuard guard(tape);
  const PassMark pass_mark(tape);
  const BackwardRecord record(exec);
  Pass pass(tape, exec, true, true);
  std::vector<uint32_t> values(n);
  for (uint32_t k = 0; k < n; ++k) {
    values[k] = tape.value_of(inputs[k]);
    pass.want(values[k]);
  }
  std::vector<TensorRef> out(n);
  try {
    pass.run(y, seed);
    for (uint32_t k = 0; k < n; ++k) {
      if (values[k] != 0) out[k] = pass.take(values[k]);
    }
  } catch (...) {
    pass.clear();
    throw;
  }
  pass.clear();
  return out;
}

}  // namespace mill
