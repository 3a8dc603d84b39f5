// Optimizers: state in flat buffers beside the group's, one fused op per contiguous run of fresh
// gradients.
#pragma once

#include <cstdint>
#include <vector>

#include "optim/group.h"

struct mill_optimizer : mill::Handle {
  static constexpr mill::HandleKind kKind = mill::HandleKind::optimizer;

  enum class Rule { sgd, adamw, adam, rmsprop, adagrad, lion };
  struct Options {
    Rule rule = Rule::sgd;
    double rate = 0;
    double momentum = 0;  // sgd, rmsprop
    double dampening = 0;
    double beta1 = 0;  // adamw, adam, lion
    double beta2 = 0;
    double alpha = 0;       // rmsprop
    double rate_decay = 0;  // adagrad
    double initial = 0;     // adagrad: what its sum begins with
    double eps = 0;
    double weight_decay = 0;
    bool nesterov = false;
    bool amsgrad = false;
    bool decoupled = false;  // adam: weight decay as AdamW's
    bool centered = false;
  };
  struct Schedule {
    int32_t shape = 0;
    int64_t warmup = 0;
    int64_t total = 0;
    double floor = 0;
    double start = 0;
    int64_t period = 1;
    double factor = 1;
  };

  mill_optimizer(mill_exec& exec, mill_group& owner, const Options& chosen);

  void step(mill_exec& exec);
  void set_rate(mill_exec& exec, double rate);
  void set_schedule(const Schedule& schedule);
  void set_clip_norm(double max_norm);
  void set_clip_value(double limit);
  void set_dampening(double dampening);
  void set_gradient_scale(double scale);
  void set_param_options(mill_exec& exec, uint32_t index, double rate_factor, double weight_decay);
  void set_ema(mill_exec& exec, double decay, bool warm_up);
  void swap_ema(mill_exec& exec);
  bool ema_swapped() const { return swapped_; }
  void set_loss_scale(mill_exec& exec, double initial, double growth, double backoff,
                      int64_t interval);
  int64_t steps() const;
  bool scales_loss() const { return static_cast<bool>(scale); }
  // Whether a step computes the norm of the gradients.
  bool takes_norm() const { return max_norm_ > 0 || scales_loss(); }
  bool scales_gradients() const { return gradient_scale_ != 1; }

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
  mill::TensorRef ema;  // averages of the weights, [total]; null while there are none

 private:
  static constexpr int kStates = 3;
  // A run of fresh gradients beside what is updated with them, all with the same options. Empty:
  // the rule has no such state.
  struct Part {
    mill::TensorRef values;
    mill::TensorRef gradients;
    mill::TensorRef state[kStates];
    mill::TensorRef master;
    mill_tensor* rate;
    double weight_decay;
  };
  struct Span {
    int64_t begin;
    int64_t end;
  };
  struct ParamOptions {
    double rate_factor;
    double weight_decay;
    bool operator==(const ParamOptions&) const = default;
  };
  // A multiple of the rate, worked out on the device in every step.
  struct ScaledRate {
    double factor;
    mill::TensorRef rate;
  };

  uint64_t parameter_version() const {
    return group->values->storage->version.load(std::memory_order_relaxed);
  }
  void add_states(mill_exec& exec);
  void follow_parameters(mill_exec& exec);
  ParamOptions options_of(size_t index) const;
  mill_tensor* rate_of(double factor) const;
  void gather_parts();
  mill::TensorRef squared_total(mill_exec& exec) const;
  void advance(mill_exec& exec, mill_tensor* total, bool& begun);
  void advance_rate(mill_exec& exec);
  void update(mill_exec& exec, Part& part);
  void update_sgd(mill_exec& exec, Part& part, mill_tensor* clip);
  void update_adamw(mill_exec& exec, Part& part, mill_tensor* clip);
  void update_other(mill_exec& exec, Part& part, mill_tensor* clip);

  int32_t stat_dtype_;
  const char* state_names_[kStates] = {};
  mill::TensorRef states_[kStates];  // [total], as master
  mill::TensorRef master_;           // f32 weights beside 16-bit parameters
  Schedule schedule_;
  double max_norm_ = 0;
  double clip_value_ = 0;
  double gradient_scale_ = 1;
  double growth_ = 2;
  double backoff_ = 0.5;
  int64_t interval_ = 1;
  double ema_decay_ = 0;
  bool ema_warm_up_ = false;
  bool swapped_ = false;                // ema and the weights have changed places
  std::vector<ParamOptions> by_param_;  // empty: all as the optimizer's
  std::vector<ScaledRate> scaled_rates_;
  uint64_t seen_ = 0;  // version of the parameters that master belongs to
  // During a step; members only to keep their memory.
  std::vector<Part> parts_;
  std::vector<Span> spans_;
  std::vector<mill::TensorRef> fresh_;  // gradients of the spans
};

inline void retain(mill_optimizer* optimizer) noexcept {
  optimizer->retain();
}
void release(mill_optimizer* optimizer) noexcept;
