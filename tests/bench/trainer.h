// What the models of the benchmarks share: a starting point and one fixed batch for both sides, and
// a training step on ours through the flat functions. A model adds its layers: logits().
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "bench/common.h"
#include "bench/mill_api.h"

namespace bench {

// AdamW; Adam when nothing decays.
struct Recipe {
  double rate = 1e-3, beta2 = 0.999, decay = 0;
  double clip = 0;  // norm to which all gradients are clipped together; 0: not
};

// Both sides' starting point. Each draw has a seed of its own, in the order of the calls.
struct Start {
  Recipe recipe;
  std::vector<std::vector<float>> params;
  std::vector<std::vector<int64_t>> dims;
  std::vector<int64_t> labels;
  std::vector<int64_t> label_dims;

 protected:
  std::vector<float> draw(int64_t n, float low, float high);
  std::vector<int64_t> pick(int64_t n, int64_t below);
  void param(std::vector<int64_t> size, float low, float high);

 private:
  uint64_t seed_ = 1;
};

class MillTrainer {
 public:
  MillTrainer(Mill& mill, const Start& start);
  virtual ~MillTrainer();
  MillTrainer(const MillTrainer&) = delete;
  MillTrainer& operator=(const MillTrainer&) = delete;
  void reset(const Start& start);  // parameters and optimizer state as at the start
  void step(double* loss = nullptr) { pass(loss, nullptr, true); }

 protected:
  virtual mill_tensor* logits() = 0;      // with classes last, in a scope that step() ends
  mill_tensor* keep(mill_tensor* input);  // released with the model
  // Losses and gradients of the batch, weighted by `seed` (null: 1), added to those since the last
  // update; then the optimizer's step if `update`.
  void pass(double* loss, mill_tensor* seed, bool update);

  Mill& mill_;
  mill_group* group_ = nullptr;
  mill_optimizer* optimizer_ = nullptr;
  mill_tape* tape_ = nullptr;
  std::vector<mill_tensor*> params_;
  mill_tensor* labels_ = nullptr;

 private:
  std::vector<mill_tensor*> kept_;
};

namespace peer {

// The other side's model, behind the one header that both halves of a program see.
class Trainer {
 public:
  virtual ~Trainer() = default;
  virtual void reset(const Start& start) = 0;
  virtual void step(double* loss = nullptr) = 0;
};

}  // namespace peer

bool same_loss(double a, double b);  // within what the order of f32 sums explains in a few steps
// Says how the losses of the first steps differ, or that they do not fall; else "".
std::string compare_losses(Session& session, MillTrainer& ours, peer::Trainer& peer,
                           const Start& start, int steps = 10);
// Steps of ours beside steps of the peer's. All must outlive the case.
Case training_case(Session& session, const char* id, const char* name, double goal,
                   MillTrainer& ours, peer::Trainer& peer, const Start& start, int compared = 10);

}  // namespace bench
