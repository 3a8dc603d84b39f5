// Optimizers: state in flat buffers beside the group's, one fused op per contiguous run of fresh
// gradients.
#pragma once

#include <cstdint>
#include <vector>

#include "optim/group.h"

struct mill_optimizer : mill::Handle {
  static constexpr mill::HandleKind kKind = mill::HandleKind::optimizer;

  enum class Rule { sgd, adamw };
  struct Options {
    Rule rule = Rule::sgd;
    double rate = 0;
    double momentum = 0;  // sgd
    double beta1 = 0;     // adamw
    double beta2 = 0;
    double eps = 0;
    double weight_decay = 0;
    bool nesterov = false;
  };

  mill_optimizer(mill_exec& exec, mill_group& owner, const Options& chosen);

  void step(mill_exec& exec);
  void set_rate(mill_exec& exec, double rate);
  void set_schedule(int32_t shape, int64_t warmup, int64_t total, double floor);
  void set_clip_norm(double max_norm);
  void set_loss_scale(mill_exec& exec, double initial, double growth, double backoff,
                      int64_t interval);
  int64_t steps() const;
  bool scales_loss() const { return static_cast<bool>(scale); }
  // Whether a step computes the norm of the gradients.
  bool takes_norm() const { return max_norm_ > 0 || scales_loss(); }

  // State for checkpoints: buffers as long as the group's, with the names that files use.
  struct State {
    const char* name;
    mill_tensor* tensor;
  };
  std::vector<State> states() const;

  mill::Ref<mill_group> group;
  Options options;
  mill::TensorRef base_rate;  // one element each, in device memory
  mill::TensorRef rate;
  mill::TensorRef step_count;
  mill::TensorRef factor;
  mill::TensorRef norm;
  mill::TensorRef scale;  // of the loss, []; null while it is not scaled, as the next
  mill::TensorRef streak;

 private:
  // A run of fresh gradients beside what is updated with them. Empty: the rule has no such state.
  struct Part {
    mill::TensorRef values;
    mill::TensorRef gradients;
    mill::TensorRef first;  // m or velocity
    mill::TensorRef second;
    mill::TensorRef master;
  };

  uint64_t parameter_version() const {
    return group->values->storage->version.load(std::memory_order_relaxed);
  }
  void follow_parameters(mill_exec& exec);
  void gather_parts();
  mill::TensorRef squared_total(mill_exec& exec) const;
  void advance(mill_exec& exec, mill_tensor* total, bool& begun);
  void update(mill_exec& exec, const Part& part);
  void update_master(mill_exec& exec, const Part& part, mill_tensor* clip);

  int32_t stat_dtype_;
  int32_t shape_ = 0;
  int64_t warmup_ = 0;
  int64_t total_ = 0;
  double floor_ = 0;
  double max_norm_ = 0;
  double growth_ = 2;
  double backoff_ = 0.5;
  int64_t interval_ = 1;
  uint64_t seen_ = 0;        // version of the parameters that master belongs to
  std::vector<Part> parts_;  // during a step; a member only to keep its memory

 public:
  mill::TensorRef velocity;  // [total], as the following two
  mill::TensorRef m;
  mill::TensorRef v;
  mill::TensorRef master;  // f32 weights beside 16-bit parameters
};

inline void retain(mill_optimizer* optimizer) noexcept {
  optimizer->retain();
}
void release(mill_optimizer* optimizer) noexcept;
