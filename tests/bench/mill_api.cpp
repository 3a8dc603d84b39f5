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

}  // namespace bench
