#include "bench/mill_api.h"

#include <dlfcn.h>

#include <cmath>
#include <stdexcept>

#include "bench/common.h"

namespace bench {

Api::Api(const std::string& path) {
  void* library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (!library) throw std::runtime_error(dlerror());
#define MILL_BENCH_FIND(name)                                        \
  name = reinterpret_cast<decltype(&::name)>(dlsym(library, #name)); \
  if (!name) throw std::runtime_error(path + " has no " #name);
  MILL_BENCH_FUNCTIONS(MILL_BENCH_FIND)
#undef MILL_BENCH_FIND
}

Mill::Mill(const std::string& path, uint32_t threads, int32_t gemm) : api(path) {
  check(api.mill_error_create(&err));
  mill_context_opts opts{};
  opts.size = sizeof opts;
  opts.type = MILL_STRUCT_CONTEXT_OPTS;
  opts.threads = threads;
  opts.gemm = gemm;
  check(api.mill_context_create(&opts, &context, err));
  check(api.mill_exec_create(context, 0, nullptr, &exec, err));
}

Mill::~Mill() {
  api.mill_exec_release(exec);
  api.mill_context_release(context);
  api.mill_error_release(err);
}

void Mill::fail() const {
  throw std::runtime_error(api.mill_error_message(err));
}

mill_tensor* Mill::tensor(const std::vector<int64_t>& dims, const float* values) {
  uint64_t bytes = sizeof(float);
  for (const int64_t dim : dims) bytes *= static_cast<uint64_t>(dim);
  mill_tensor* out = nullptr;
  check(api.mill_tensor_from_host(exec, MILL_F32, dims.data(), static_cast<uint32_t>(dims.size()),
                                  values, bytes, &out, err));
  return out;
}

mill_tensor* Mill::tensor_i64(const std::vector<int64_t>& dims, const int64_t* values) {
  uint64_t bytes = sizeof(int64_t);
  for (const int64_t dim : dims) bytes *= static_cast<uint64_t>(dim);
  mill_tensor* out = nullptr;
  check(api.mill_tensor_from_host(exec, MILL_I64, dims.data(), static_cast<uint32_t>(dims.size()),
                                  values, bytes, &out, err));
  return out;
}

mill_tensor* Mill::cast(mill_tensor* x, mill_dtype dtype) {
  mill_tensor* out = nullptr;
  check(api.mill_cast(exec, x, dtype, &out, err));
  return out;
}

std::vector<float> Mill::read(mill_tensor* tensor) {
  mill_tensor* single = cast(tensor, MILL_F32);
  std::vector<float> out(static_cast<size_t>(api.mill_tensor_count(single)));
  check(api.mill_tensor_read(exec, single, out.data(), out.size() * sizeof(float), err));
  api.mill_tensor_release(single);
  return out;
}

std::string Mill::device() const {
  mill_device_info info{};
  info.size = sizeof info;
  info.type = MILL_STRUCT_DEVICE_INFO;
  check(api.mill_device_query(context, 0, &info, err));
  return info.description;
}

MlpData::MlpData(const MlpShape& shape) {
  uint64_t seed = 1;
  const auto param = [&](std::vector<int64_t> size, float bound) {
    int64_t n = 1;
    for (const int64_t dim : size) n *= dim;
    std::vector<float> values(static_cast<size_t>(n));
    fill_random(values.data(), n, seed++, -bound, bound);
    params.push_back(std::move(values));
    dims.push_back(std::move(size));
  };
  if (shape.symbols > 0) param({shape.symbols, shape.widths[0] / shape.window}, 1.0f);
  for (size_t k = 0; k + 1 < shape.widths.size(); ++k) {
    const float bound = 1.0f / std::sqrt(static_cast<float>(shape.widths[k]));
    param({shape.widths[k + 1], shape.widths[k]}, bound);
    param({shape.widths[k + 1]}, bound);
  }
  const auto pick = [&](std::vector<int64_t>& out, int64_t n, int64_t below) {
    std::vector<float> draw(static_cast<size_t>(n));
    fill_random(draw.data(), n, seed++, 0.0f, static_cast<float>(below));
    for (const float value : draw) out.push_back(std::min(static_cast<int64_t>(value), below - 1));
  };
  if (shape.symbols > 0) {
    pick(ids, shape.batch * shape.window, shape.symbols);
  } else {
    x.resize(static_cast<size_t>(shape.batch * shape.widths[0]));
    fill_random(x.data(), static_cast<int64_t>(x.size()), seed++, 0.0f, 1.0f);
  }
  pick(labels, shape.batch, shape.widths.back());
}

MillMlp::MillMlp(Mill& mill, const MlpShape& shape, const MlpData& data)
    : mill_(mill), shape_(shape) {
  const Api& api = mill.api;
  mill.check(api.mill_group_create(mill.context, MILL_F32, &group_, mill.err));
  for (size_t k = 0; k < data.params.size(); ++k) {
    const std::string name = "p" + std::to_string(k);
    mill.check(api.mill_group_add(group_, name.c_str(), data.dims[k].data(),
                                  static_cast<uint32_t>(data.dims[k].size()), nullptr, mill.err));
  }
  mill.check(api.mill_group_build(group_, mill.exec, mill.err));
  params_.resize(data.params.size());
  for (size_t k = 0; k < params_.size(); ++k) {
    mill.check(api.mill_group_param(group_, static_cast<uint32_t>(k), &params_[k], mill.err));
  }
  mill.check(api.mill_tape_create(mill.context, &tape_, mill.err));
  input_ = shape.symbols > 0 ? mill.tensor_i64({shape.batch, shape.window}, data.ids.data())
                             : mill.tensor({shape.batch, shape.widths[0]}, data.x.data());
  labels_ = mill.tensor_i64({shape.batch}, data.labels.data());
  reset(data);
}

void MillMlp::reset(const MlpData& data) {
  const Api& api = mill_.api;
  for (size_t k = 0; k < params_.size(); ++k) {
    mill_.check(api.mill_tensor_write(mill_.exec, params_[k], data.params[k].data(),
                                      data.params[k].size() * sizeof(float), mill_.err));
  }
  if (optimizer_) api.mill_optimizer_release(optimizer_);
  optimizer_ = nullptr;
  mill_.check(api.mill_optimizer_create_adamw(mill_.exec, group_, shape_.rate, 0.9, 0.999, 1e-8,
                                              shape_.decay, &optimizer_, mill_.err));
}

MillMlp::~MillMlp() {
  const Api& api = mill_.api;
  for (mill_tensor* param : params_) api.mill_tensor_release(param);
  api.mill_tensor_release(input_);
  api.mill_tensor_release(labels_);
  api.mill_tape_release(tape_);
  api.mill_optimizer_release(optimizer_);
  api.mill_group_release(group_);
}

void MillMlp::step(double* loss_value) {
  const Api& api = mill_.api;
  mill_exec* exec = mill_.exec;
  mill_error* err = mill_.err;
  mill_.check(api.mill_exec_set_tape(exec, tape_, err));
  mill_.check(api.mill_scope_begin(exec, err));
  mill_tensor* x = input_;
  size_t at = 0;
  if (shape_.symbols > 0) {
    const int64_t flat[2] = {-1, shape_.widths[0]};
    mill_tensor* rows = nullptr;
    mill_tensor* joined = nullptr;
    mill_.check(api.mill_embedding(exec, params_[at++], x, &rows, err));
    mill_.check(api.mill_reshape(exec, rows, flat, 2, &joined, err));
    x = joined;
  }
  const size_t layers = shape_.widths.size() - 1;
  for (size_t k = 0; k < layers; ++k) {
    mill_tensor* y = nullptr;
    mill_.check(api.mill_linear(exec, x, params_[at], params_[at + 1], &y, err));
    at += 2;
    x = y;
    if (k + 1 == layers) break;
    mill_tensor* z = nullptr;
    mill_.check(shape_.gelu ? api.mill_gelu(exec, y, 0, &z, err) : api.mill_relu(exec, y, &z, err));
    x = z;
  }
  mill_tensor* loss = nullptr;
  mill_tensor* lse = nullptr;
  mill_.check(api.mill_cross_entropy(exec, x, labels_, 0, 0.0, -100, &loss, &lse, err));
  mill_.check(api.mill_tape_backward(tape_, exec, loss, nullptr, 0, err));
  mill_.check(api.mill_optimizer_step(optimizer_, exec, err));
  if (loss_value) mill_.check(api.mill_tensor_item(exec, loss, loss_value, err));
  mill_.check(api.mill_scope_end(exec, err));
  mill_.check(api.mill_exec_set_tape(exec, nullptr, err));
}

}  // namespace bench
