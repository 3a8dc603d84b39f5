#include "bench/trainer.h"

#include <algorithm>
#include <cmath>

namespace bench {

std::vector<float> Start::draw(int64_t n, float low, float high) {
  std::vector<float> values(static_cast<size_t>(n));
  fill_random(values.data(), n, seed_++, low, high);
  return values;
}

std::vector<int64_t> Start::pick(int64_t n, int64_t below) {
  std::vector<int64_t> out;
  for (const float value : draw(n, 0, static_cast<float>(below)))
    out.push_back(std::min(static_cast<int64_t>(value), below - 1));
  return out;
}

void Start::param(std::vector<int64_t> size, float low, float high) {
  int64_t n = 1;
  for (const int64_t dim : size) n *= dim;
  params.push_back(draw(n, low, high));
  dims.push_back(std::move(size));
}

MillTrainer::MillTrainer(Mill& mill, const Start& start) : mill_(mill) {
  const Api& api = mill.api;
  mill.check(api.mill_group_create(mill.context, MILL_F32, &group_, mill.err));
  for (size_t k = 0; k < start.params.size(); ++k) {
    const std::string name = "p" + std::to_string(k);
    mill.check(api.mill_group_add(group_, name.c_str(), start.dims[k].data(),
                                  static_cast<uint32_t>(start.dims[k].size()), nullptr, mill.err));
  }
  mill.check(api.mill_group_build(group_, mill.exec, mill.err));
  params_.resize(start.params.size());
  for (size_t k = 0; k < params_.size(); ++k)
    mill.check(api.mill_group_param(group_, static_cast<uint32_t>(k), &params_[k], mill.err));
  mill.check(api.mill_tape_create(mill.context, &tape_, mill.err));
  labels_ = keep(mill.tensor_i64(start.label_dims, start.labels.data()));
  reset(start);
}

MillTrainer::~MillTrainer() {
  const Api& api = mill_.api;
  for (mill_tensor* param : params_) api.mill_tensor_release(param);
  for (mill_tensor* input : kept_) api.mill_tensor_release(input);
  api.mill_tape_release(tape_);
  api.mill_optimizer_release(optimizer_);
  api.mill_group_release(group_);
}

mill_tensor* MillTrainer::keep(mill_tensor* input) {
  kept_.push_back(input);
  return input;
}

void MillTrainer::reset(const Start& start) {
  const Api& api = mill_.api;
  for (size_t k = 0; k < params_.size(); ++k) {
    mill_.check(api.mill_tensor_write(mill_.exec, params_[k], start.params[k].data(),
                                      start.params[k].size() * sizeof(float), mill_.err));
  }
  if (optimizer_) api.mill_optimizer_release(optimizer_);
  optimizer_ = nullptr;
  const Recipe& recipe = start.recipe;
  mill_.check(api.mill_optimizer_create_adamw(mill_.exec, group_, recipe.rate, 0.9, recipe.beta2,
                                              1e-8, recipe.decay, &optimizer_, mill_.err));
  if (recipe.clip > 0)
    mill_.check(api.mill_optimizer_set_clip_norm(optimizer_, recipe.clip, mill_.err));
}

void MillTrainer::pass(double* loss_value, mill_tensor* seed, bool update) {
  const Api& api = mill_.api;
  mill_exec* exec = mill_.exec;
  mill_error* err = mill_.err;
  mill_.check(api.mill_exec_set_tape(exec, tape_, err));
  mill_.check(api.mill_scope_begin(exec, err));
  mill_tensor *loss = nullptr, *lse = nullptr;
  mill_.check(api.mill_cross_entropy(exec, logits(), labels_, 0, 0.0, -100, &loss, &lse, err));
  mill_.check(api.mill_tape_backward(tape_, exec, loss, seed, 0, err));
  if (update) mill_.check(api.mill_optimizer_step(optimizer_, exec, err));
  if (loss_value) mill_.check(api.mill_tensor_item(exec, loss, loss_value, err));
  mill_.check(api.mill_scope_end(exec, err));
  mill_.check(api.mill_exec_set_tape(exec, nullptr, err));
}

bool same_loss(double a, double b) {
  return std::fabs(a - b) < 2e-4 * (1 + std::fabs(b));
}

std::string compare_losses(Session& session, MillTrainer& ours, peer::Trainer& peer,
                           const Start& start, int steps) {
  std::vector<double> a(static_cast<size_t>(steps)), b(a.size());
  session.ours().run([&] {
    ours.reset(start);
    for (double& loss : a) ours.step(&loss);
  });
  session.peer().run([&] {
    peer.reset(start);
    for (double& loss : b) peer.step(&loss);
  });
  for (size_t k = 0; k < a.size(); ++k) {
    if (same_loss(a[k], b[k])) continue;
    char text[120];
    std::snprintf(text, sizeof text, "loss of step %zu is %.6f, the peer's is %.6f", k + 1, a[k],
                  b[k]);
    return text;
  }
  if (!(a.back() < a.front())) return "the loss does not fall";
  return "";
}

Case training_case(Session& session, const char* id, const char* name, double goal,
                   MillTrainer& ours, peer::Trainer& peer, const Start& start, int compared) {
  Case c;
  c.id = id;
  c.name = name;
  c.goal = goal;
  c.ours = {"millrace",
            [&ours](int64_t n) {
              for (int64_t i = 0; i < n; ++i) ours.step();
            },
            {}};
  c.peer.run = [&peer](int64_t n) {
    for (int64_t i = 0; i < n; ++i) peer.step();
  };
  c.check = [&session, &ours, &peer, &start, compared] {
    return compare_losses(session, ours, peer, start, compared);
  };
  return c;
}

}  // namespace bench
