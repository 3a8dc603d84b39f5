// Peer of fc_bench: ggml's own training of such a network, ggml_opt_epoch.
#include <ggml-alloc.h>
#include <ggml-backend.h>
#include <ggml-cpu.h>
#include <ggml-opt.h>
#include <ggml.h>

#include <stdexcept>

#include "bench/fc_model.h"

namespace bench::peer {

namespace {

ggml_opt_optimizer_params recipe_of(void* start) {
  const Recipe& recipe = static_cast<const FcStart*>(start)->recipe;
  ggml_opt_optimizer_params out = ggml_opt_get_default_optimizer_params(nullptr);
  out.adamw.alpha = static_cast<float>(recipe.rate);
  out.adamw.beta1 = 0.9f;
  out.adamw.beta2 = static_cast<float>(recipe.beta2);
  out.adamw.eps = 1e-8f;
  out.adamw.wd = static_cast<float>(recipe.decay);
  return out;
}

class Fc final : public Epochs {
 public:
  Fc(const FcShape& s, const FcStart& start) : start_(start) {
    backend_ = ggml_backend_cpu_init();
    scheduler_ =
        ggml_backend_sched_new(&backend_, nullptr, 1, GGML_DEFAULT_GRAPH_SIZE, false, true);
    const ggml_init_params held{16 * ggml_tensor_overhead(), nullptr, true};
    const ggml_init_params graph{
        GGML_DEFAULT_GRAPH_SIZE * ggml_tensor_overhead() + 3 * ggml_graph_overhead(), nullptr,
        true};
    held_ = ggml_init(held);
    graph_ = ggml_init(graph);
    ggml_tensor* images = ggml_new_tensor_2d(held_, GGML_TYPE_F32, s.inputs, s.batch);
    params_ = {ggml_new_tensor_2d(held_, GGML_TYPE_F32, s.inputs, s.hidden),
               ggml_new_tensor_1d(held_, GGML_TYPE_F32, s.hidden),
               ggml_new_tensor_2d(held_, GGML_TYPE_F32, s.hidden, s.classes),
               ggml_new_tensor_1d(held_, GGML_TYPE_F32, s.classes)};
    ggml_set_input(images);
    for (ggml_tensor* param : params_) ggml_set_param(param);
    ggml_tensor* h =
        ggml_relu(graph_, ggml_add(graph_, ggml_mul_mat(graph_, params_[0], images), params_[1]));
    ggml_tensor* logits = ggml_add(graph_, ggml_mul_mat(graph_, params_[2], h), params_[3]);
    buffer_ = ggml_backend_alloc_ctx_tensors(held_, backend_);
    if (!buffer_) throw std::runtime_error("ggml has no memory for the parameters");

    ggml_opt_params opts = ggml_opt_default_params(scheduler_, GGML_OPT_LOSS_TYPE_CROSS_ENTROPY);
    opts.ctx_compute = graph_;
    opts.inputs = images;
    opts.outputs = logits;
    opts.opt_period = static_cast<int32_t>(s.per_step);
    opts.get_opt_pars = recipe_of;
    opts.get_opt_pars_ud = const_cast<FcStart*>(&start);
    opts.optimizer = GGML_OPT_OPTIMIZER_TYPE_ADAMW;
    optimizer_ = ggml_opt_init(opts);

    data_ = ggml_opt_dataset_init(GGML_TYPE_F32, GGML_TYPE_F32, s.inputs, s.classes, s.samples,
                                  s.batch);
    std::copy(start.x.begin(), start.x.end(), ggml_get_data_f32(ggml_opt_dataset_data(data_)));
    float* labels = ggml_get_data_f32(ggml_opt_dataset_labels(data_));
    std::fill_n(labels, s.samples * s.classes, 0.0f);
    for (int64_t k = 0; k < s.samples; ++k)
      labels[k * s.classes + start.of_all[static_cast<size_t>(k)]] = 1;
    reset();
  }

  ~Fc() override {
    ggml_opt_dataset_free(data_);
    ggml_opt_free(optimizer_);
    ggml_backend_buffer_free(buffer_);
    ggml_free(graph_);
    ggml_free(held_);
    ggml_backend_sched_free(scheduler_);
    ggml_backend_free(backend_);
  }

  void reset() override {
    for (size_t k = 0; k < params_.size(); ++k)
      ggml_backend_tensor_set(params_[k], start_.params[k].data(), 0, ggml_nbytes(params_[k]));
    ggml_opt_reset(optimizer_, true);
  }

  void use(int threads) override { ggml_backend_cpu_set_n_threads(backend_, threads); }

  double epoch() override {
    ggml_opt_result_t result = ggml_opt_result_init();
    ggml_opt_epoch(optimizer_, data_, result, nullptr, -1, nullptr, nullptr);
    double loss = 0, spread = 0;
    ggml_opt_result_loss(result, &loss, &spread);
    ggml_opt_result_free(result);
    return loss;
  }

 private:
  const FcStart& start_;
  ggml_backend_t backend_ = nullptr;
  ggml_backend_sched_t scheduler_ = nullptr;
  ggml_context* held_ = nullptr;
  ggml_context* graph_ = nullptr;
  ggml_backend_buffer_t buffer_ = nullptr;
  ggml_opt_context_t optimizer_ = nullptr;
  ggml_opt_dataset_t data_ = nullptr;
  std::vector<ggml_tensor*> params_;
};

}  // namespace

std::string ggml_name() {
  return std::string("ggml ") + ggml_version();
}

std::unique_ptr<Epochs> fc(const FcShape& shape, const FcStart& start) {
  return std::make_unique<Fc>(shape, start);
}

}  // namespace bench::peer
