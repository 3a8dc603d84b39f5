// Kernels of the create family: fill, arange, cast and copies.
#include "cpu/copy.h"
#include "cpu/kernels.h"
#include "millrace/op_numbers.h"

namespace mill::cpu::MILL_TARGET {

namespace {

mill_status fill(const mill_kernel_args* args) {
  const mill_kernel_tensor& out = *args->out[0];
  const double value = args->attr[2].f;
  alignas(16) char element[16] = {};
  any_writer<double>(out.dtype)(&value, 1, element, 1);
  fill_output(args, element);
  return MILL_OK;
}

// ---- arange ------------------------------------------------------------------------------------

struct Arange {
  double start;
  double step;
  char* data;
  int64_t stride;
  int64_t size;
  WriteFn write;

  static void body(void* self, int64_t begin, int64_t end) {
    const Arange& job = *static_cast<const Arange*>(self);
    alignas(64) double values[kTile];
    while (begin < end) {
      const int64_t n = smaller(end - begin, kTile);
      for (int64_t i = 0; i < n; ++i)
        values[i] = __builtin_fma(static_cast<double>(begin + i), job.step, job.start);
      job.write(values, n, job.data + begin * job.stride * job.size, job.stride);
      begin += n;
    }
  }
};

mill_status arange(const mill_kernel_args* args) {
  const mill_kernel_tensor& out = *args->out[0];
  if (out.numel == 0) return MILL_OK;
  Arange job{args->attr[1].f,
             args->attr[2].f,
             static_cast<char*>(out.data),
             out.rank == 1 ? out.strides[0] : 1,
             dtype_size(out.dtype),
             any_writer<double>(out.dtype)};
  if (out.numel <= kCheapGrain) {
    Arange::body(&job, 0, out.numel);
  } else {
    args->host->parallel_for(args->host->self, out.numel, kCheapGrain, &Arange::body, &job);
  }
  return MILL_OK;
}

// ---- cast --------------------------------------------------------------------------------------

struct Cast {
  Loops loops;
  char* to;
  const char* from;
  int64_t to_size;
  int64_t from_size;
  int64_t middle_size;
  ReadFn read;
  WriteFn write;

  static void body(void* self, int64_t begin, int64_t end) {
    const Cast& job = *static_cast<const Cast*>(self);
    alignas(64) char tile[static_cast<size_t>(kTile * kTileBytes)];
    Cursor source;
    source.seek(job.loops, 2, begin);
    while (begin < end) {
      const int64_t count = smaller(end - begin, kTile);
      Cursor target = source;
      for (int64_t done = 0; done < count;) {
        const int64_t n = smaller(count - done, source.left_in_row(job.loops));
        job.read(job.from + source.offset[1] * job.from_size, job.loops.strides[1][0], n,
                 tile + done * job.middle_size);
        source.advance(job.loops, 2, n);
        done += n;
      }
      for (int64_t done = 0; done < count;) {
        const int64_t n = smaller(count - done, target.left_in_row(job.loops));
        job.write(tile + done * job.middle_size, n, job.to + target.offset[0] * job.to_size,
                  job.loops.strides[0][0]);
        target.advance(job.loops, 2, n);
        done += n;
      }
      begin += count;
    }
  }
};

// The type through which a value of storage type S passes without loss.
template <class S>
struct MiddleOf {
  using type = int64_t;
};
template <>
struct MiddleOf<uint64_t> {
  using type = uint64_t;
};
template <>
struct MiddleOf<f16> {
  using type = float;
};
template <>
struct MiddleOf<bf16> {
  using type = float;
};
template <>
struct MiddleOf<f8e4m3> {
  using type = float;
};
template <>
struct MiddleOf<f8e5m2> {
  using type = float;
};
template <>
struct MiddleOf<float> {
  using type = float;
};
template <>
struct MiddleOf<double> {
  using type = double;
};
template <>
struct MiddleOf<Complex64> {
  using type = Complex128;
};
template <>
struct MiddleOf<Complex128> {
  using type = Complex128;
};

template <class S>
void choose_middle(Cast* job, int32_t to) {
  using Middle = typename MiddleOf<S>::type;
  job->middle_size = sizeof(Middle);
  job->read = &read_strided<S, Middle>;
  job->write = any_writer<Middle>(to);
}

mill_status copy(const mill_kernel_args* args) {
  copy_tensor(*args->out[0], *args->in[0], args->host);
  return MILL_OK;
}

mill_status cast(const mill_kernel_args* args) {
  const mill_kernel_tensor& out = *args->out[0];
  const mill_kernel_tensor& in = *args->in[0];
  if (out.numel == 0) return MILL_OK;
  if (out.dtype == in.dtype) return copy(args);
  Cast job;
  switch (in.dtype) {
#define MILL_CASE(number, S) \
  case number: choose_middle<S>(&job, out.dtype); break;
    MILL_CPU_STORAGE(MILL_CASE)
#undef MILL_CASE
    default: return MILL_E_DTYPE;
  }
  const mill_kernel_tensor* operands[2] = {&out, &in};
  build_loops(&job.loops, operands, 2);
  job.to = static_cast<char*>(out.data);
  job.from = static_cast<const char*>(in.data);
  job.to_size = dtype_size(out.dtype);
  job.from_size = dtype_size(in.dtype);
  if (out.numel <= kCheapGrain) {
    Cast::body(&job, 0, out.numel);
  } else {
    args->host->parallel_for(args->host->self, out.numel, kCheapGrain, &Cast::body, &job);
  }
  return MILL_OK;
}

constexpr uint32_t kAny = (1u << MILL_DTYPE_COUNT) - 2u;

constexpr KernelEntry kEntries[] = {
    {MILL_OP_FILL, kAny, {&fill, nullptr}},       {MILL_OP_ARANGE, kAny, {&arange, nullptr}},
    {MILL_OP_CAST, kAny, {&cast, nullptr}},       {MILL_OP_COPY, kAny, {&copy, nullptr}},
    {MILL_OP_CONTIGUOUS, kAny, {&copy, nullptr}},
};

}  // namespace

KernelList create_kernels() {
  return {kEntries, sizeof(kEntries) / sizeof(kEntries[0])};
}

}  // namespace mill::cpu::MILL_TARGET
