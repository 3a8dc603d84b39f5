#include "optim/group.h"

#include <cmath>

#include "base/fork.h"
#include "ops/calls.gen.h"

mill_group::mill_group(mill_context* owner, int32_t element)
    : context(mill::Ref<mill_context>::share(owner)), dtype(element) {
  if (!mill::is_compute_float(element)) {
    mill::fail_argument(MILL_E_DTYPE, 1, "dtype is %s, parameters are f16, bf16, f32 or f64",
                        mill::dtype_name(element));
  }
}

mill_group::~mill_group() {
  // A parameter that somebody still holds becomes an ordinary tensor.
  for (Param& param : params) {
    if (!param.tensor) continue;
    param.tensor->leaf = false;
    param.tensor->sink = nullptr;
  }
}

void release(mill_group* group) noexcept {
  if (group->context->fork_generation != mill::fork_generation()) return;
  if (!group->release()) return;
  const mill::Ref<mill_context> context = group->context;
  mill::slab_delete(group);
}

void mill_group::Face::release_sink() noexcept {
  ::release(&group_);
}

uint32_t mill_group::add(const char* name, const int64_t* dims, uint32_t rank) {
  const mill::GroupUse use(*this);
  if (values) mill::fail(MILL_E_STATE, "the group is built, parameters are added before");
  if (name[0] == 0) mill::fail_argument(MILL_E_ARG, 1, "name is empty, a parameter needs one");
  if (find(name) >= 0) {
    mill::fail_argument(MILL_E_STATE, 1, "name is \"%.64s\", which parameter %lld has already",
                        name, static_cast<long long>(find(name)));
  }
  Param param;
  param.name = name;
  param.numel = mill::checked_count(dims, rank, dtype);
  param.dims.rank = static_cast<int32_t>(rank);
  for (uint32_t i = 0; i < rank; ++i) param.dims.d[i] = dims[i];
  const int64_t step = 64 / mill::element_bytes(dtype);
  int64_t end = 0;
  int64_t bytes = 0;
  if (__builtin_add_overflow(total, param.numel, &end) || __builtin_add_overflow(end, step, &end) ||
      __builtin_mul_overflow(end, int64_t{mill::dtype_size(dtype)}, &bytes)) {
    mill::fail_argument(MILL_E_SHAPE, 2, "dims %s make the group larger than %lld bytes",
                        mill::format_dims(dims, static_cast<int32_t>(rank)).text,
                        static_cast<long long>(INT64_MAX));
  }
  param.offset = total;
  const int64_t next = (total + param.numel + step - 1) / step * step;
  params.push_back(std::move(param));
  total = next;
  return static_cast<uint32_t>(params.size() - 1);
}

void mill_group::add_buffer(const char* name, mill_tensor& tensor) {
  const mill::GroupUse use(*this);
  if (name[0] == 0) mill::fail_argument(MILL_E_ARG, 1, "name is empty, a buffer needs one");
  for (const Buffer& buffer : buffers) {
    if (buffer.name != name) continue;
    mill::fail_argument(MILL_E_STATE, 1, "name is \"%.64s\", which a buffer has already", name);
  }
  if (tensor.dtype() == MILL_C128)
    mill::fail_argument(MILL_E_DTYPE, 2, "tensor is c128, which no checkpoint holds");
  buffers.push_back({name, mill::TensorRef::share(&tensor)});
}

void mill_group::build(mill_exec& exec) {
  const mill::GroupUse use(*this);
  if (values) mill::fail(MILL_E_STATE, "the group is built already");
  if (params.empty()) mill::fail(MILL_E_STATE, "the group is empty, add a parameter first");
  if (exec.context.get() != context.get()) {
    mill::fail_argument(MILL_E_DEVICE, 1, "the exec belongs to another context than the group");
  }
  const mill::RecorderScope quiet(exec, nullptr);
  mill::TensorRef flat = mill::op::fill(exec, &total, 1, dtype, 0);
  mill::TensorRef flat_gradients = mill::op::fill(exec, &total, 1, dtype, 0);
  const auto view = [&](mill_tensor* base, const Param& param) {
    int64_t strides[MILL_MAX_RANK];
    mill::dense_strides(param.dims.d, param.dims.rank, strides);
    return mill::make_view(base->storage.get(), dtype, param.dims.d, strides, param.dims.rank,
                           param.offset);
  };
  std::vector<std::pair<mill::TensorRef, mill::TensorRef>> views;
  for (const Param& param : params)
    views.emplace_back(view(flat.get(), param), view(flat_gradients.get(), param));
  for (uint32_t k = 0; k < params.size(); ++k) {
    params[k].tensor = std::move(views[k].first);
    params[k].gradient = std::move(views[k].second);
    params[k].tensor->leaf = true;
    params[k].tensor->sink = &face;
    params[k].tensor->sink_index = k;
  }
  values = std::move(flat);
  gradients = std::move(flat_gradients);
}

void mill_group::require_built() const {
  if (!values) mill::fail(MILL_E_STATE, "the group is not built");
}

mill_group::Param& mill_group::param(uint32_t index) {
  if (index >= params.size()) {
    mill::fail(MILL_E_ARG, "index is %u, the group has %zu parameters", index, params.size());
  }
  return params[index];
}

int64_t mill_group::find(const char* name) const {
  for (size_t k = 0; k < params.size(); ++k) {
    if (params[k].name == name) return static_cast<int64_t>(k);
  }
  return -1;
}

void mill_group::init(mill_exec& exec, uint32_t index, int32_t kind, double a) {
  require_built();
  Param& target = param(index);
  if (!std::isfinite(a)) mill::fail_argument(MILL_E_ARG, 4, "a is %g, it must be finite", a);
  double fan_in = 1;
  for (int32_t i = 1; i < target.dims.rank; ++i) fan_in *= static_cast<double>(target.dims.d[i]);
  const double fan_out = target.dims.rank > 0 ? static_cast<double>(target.dims.d[0]) : 1;
  const mill::RecorderScope quiet(exec, nullptr);
  const auto n = static_cast<uint32_t>(target.dims.rank);
  const auto uniform = [&](double bound) {
    if (bound == 0) {
      mill::op::fill(exec, target.dims.d, n, dtype, 0, target.tensor.get());
    } else {
      mill::op::uniform(exec, nullptr, target.dims.d, n, dtype, -std::fabs(bound), std::fabs(bound),
                        target.tensor.get());
    }
  };
  switch (kind) {
    case MILL_INIT_CONSTANT:
      mill::op::fill(exec, target.dims.d, n, dtype, a, target.tensor.get());
      break;
    case MILL_INIT_UNIFORM: uniform(a); break;
    case MILL_INIT_NORMAL:
      mill::op::normal(exec, nullptr, target.dims.d, n, dtype, 0, std::fabs(a),
                       target.tensor.get());
      break;
    case MILL_INIT_KAIMING: uniform(a * std::sqrt(3 / std::fmax(fan_in, 1))); break;
    case MILL_INIT_XAVIER: uniform(a * std::sqrt(6 / std::fmax(fan_in + fan_out, 1))); break;
    default:
      mill::fail_argument(MILL_E_ARG, 3, "kind is %d, kinds are %d to %d", kind, MILL_INIT_CONSTANT,
                          MILL_INIT_XAVIER);
  }
}

void mill_group::clear_gradients() {
  const mill::GroupUse use(*this);
  for (Param& param : params) param.fresh = false;
}
