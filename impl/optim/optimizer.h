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
  int64_t steps() const;
  bool clips() const { return max_norm_ > 0; }

  // State for checkpoints: buffers as long as the group's, with the names that files use.
  uint32_t state_count() const { return options.rule == Rule::adamw ? 2 : (velocity ? 1 : 0); }
  const char* state_name(uint32_t k) const;
  mill_tensor* state(uint32_t k) const;

  mill::Ref<mill_group> group;
  Options options;
  mill::TensorRef base_rate;  // one element each, in device memory
  mill::TensorRef rate;
  mill::TensorRef step_count;
  mill::TensorRef factor;
  mill::TensorRef norm;

 private:
  // A run of fresh gradients beside what is updated with them. Empty: the rule has no such state.
  struct Part {
    mill::TensorRef values;
    mill::TensorRef gradients;
    mill::TensorRef first;  // m or velocity
    mill::TensorRef second;
  };

  void gather_parts();
  mill::TensorRef squared_total(mill_exec& exec) const;
  void advance(mill_exec& exec, mill_tensor* total);
  void update(mill_exec& exec, const Part& part);

  int32_t stat_dtype_;
  int32_t shape_ = 0;
  int64_t warmup_ = 0;
  int64_t total_ = 0;
  double floor_ = 0;
  double max_norm_ = 0;
  std::vector<Part> parts_;  // during a step; a member only to keep its memory

 public:
  mill::TensorRef velocity;  // [total], as the following two
  mill::TensorRef m;
  mill::TensorRef v;
};

inline void retain(mill_optimizer* optimizer) noexcept {
  optimizer->retain();
}
void release(mill_optimizer* optimizer) noexcept;
