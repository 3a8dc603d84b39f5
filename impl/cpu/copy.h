// Copies between tensors of one dtype and any strides: runs, transposed blocks, or single elements.
#pragma once

#include "cpu/pointwise.h"

namespace mill::cpu::MILL_TARGET {

struct CopyJob {
  Loops loops;
  char* to;
  const char* from;
  int64_t size;
  // Transposition: axis along which the source is contiguous, and the blocks along it and along
  // axis 0.
  int cross;
  int64_t blocks[2];
};

inline void copy_run_rows(void* data, int64_t begin, int64_t end) {
  const CopyJob& job = *static_cast<const CopyJob*>(data);
  Cursor cursor;
  cursor.seek(job.loops, 2, begin);
  while (begin < end) {
    const int64_t n = smaller(end - begin, cursor.left_in_row(job.loops));
    std::memcpy(job.to + cursor.offset[0] * job.size, job.from + cursor.offset[1] * job.size,
                static_cast<size_t>(n * job.size));
    cursor.advance(job.loops, 2, n);
    begin += n;
  }
}

template <class T>
void copy_strided_rows(void* data, int64_t begin, int64_t end) {
  const CopyJob& job = *static_cast<const CopyJob*>(data);
  T* to = reinterpret_cast<T*>(job.to);
  const T* from = reinterpret_cast<const T*>(job.from);
  const int64_t to_step = job.loops.strides[0][0];
  const int64_t from_step = job.loops.strides[1][0];
  Cursor cursor;
  cursor.seek(job.loops, 2, begin);
  while (begin < end) {
    const int64_t n = smaller(end - begin, cursor.left_in_row(job.loops));
    T* t = to + cursor.offset[0];
    const T* f = from + cursor.offset[1];
    for (int64_t i = 0; i < n; ++i) t[i * to_step] = f[i * from_step];
    cursor.advance(job.loops, 2, n);
    begin += n;
  }
}

// One block at a time through a buffer: reading whole cache lines first keeps rows whose distance
// is a power of two from evicting each other. The buffer's rows are one element longer for the same
// reason.
template <class T>
void copy_transposed(void* data, int64_t begin, int64_t end) {
  constexpr int64_t kEdge = sizeof(T) <= 4 ? 32 : 16;
  const CopyJob& job = *static_cast<const CopyJob*>(data);
  const Loops& loops = job.loops;
  const int64_t to_step = loops.strides[0][0];
  const int64_t to_cross = loops.strides[0][job.cross];
  const int64_t from_step = loops.strides[1][0];
  T buffer[static_cast<size_t>(kEdge)][static_cast<size_t>(kEdge) + 1];
  for (int64_t block = begin; block < end; ++block) {
    const int64_t i0 = block % job.blocks[0] * kEdge;
    const int64_t j0 = block / job.blocks[0] % job.blocks[1] * kEdge;
    int64_t outer = block / (job.blocks[0] * job.blocks[1]);
    int64_t to_offset = i0 * to_step + j0 * to_cross;
    int64_t from_offset = i0 * from_step + j0;
    for (int axis = 1; axis < loops.rank; ++axis) {
      if (axis == job.cross) continue;
      const int64_t at = outer % loops.dims[axis];
      outer /= loops.dims[axis];
      to_offset += at * loops.strides[0][axis];
      from_offset += at * loops.strides[1][axis];
    }
    const int64_t in = smaller(kEdge, loops.dims[0] - i0);
    const int64_t jn = smaller(kEdge, loops.dims[job.cross] - j0);
    T* to = reinterpret_cast<T*>(job.to) + to_offset;
    const T* from = reinterpret_cast<const T*>(job.from) + from_offset;
    if (jn == kEdge) {
      for (int64_t i = 0; i < in; ++i)
        std::memcpy(buffer[i], from + i * from_step, sizeof(T) * kEdge);
    } else {
      for (int64_t i = 0; i < in; ++i)
        std::memcpy(buffer[i], from + i * from_step, sizeof(T) * static_cast<size_t>(jn));
    }
    if (in == kEdge && to_step == 1) {
      for (int64_t j = 0; j < jn; ++j) {
        for (int64_t i = 0; i < kEdge; ++i) to[j * to_cross + i] = buffer[i][j];
      }
    } else {
      for (int64_t j = 0; j < jn; ++j) {
        for (int64_t i = 0; i < in; ++i) to[j * to_cross + i * to_step] = buffer[i][j];
      }
    }
  }
}

template <class T>
void copy_elements(CopyJob* job, const mill_host_services* host) {
  const Loops& loops = job->loops;
  int cross = 0;
  for (int axis = 1; axis < loops.rank && cross == 0; ++axis) {
    if (loops.strides[1][axis] == 1) cross = axis;
  }
  constexpr int64_t kEdge = sizeof(T) <= 4 ? 32 : 16;
  if (cross != 0 && loops.strides[1][0] != 0 && loops.dims[0] >= 4 && loops.dims[cross] >= 4) {
    job->cross = cross;
    job->blocks[0] = (loops.dims[0] + kEdge - 1) / kEdge;
    job->blocks[1] = (loops.dims[cross] + kEdge - 1) / kEdge;
    const int64_t blocks =
        loops.numel / (loops.dims[0] * loops.dims[cross]) * job->blocks[0] * job->blocks[1];
    const int64_t grain = larger(int64_t{1}, kCheapGrain / (kEdge * kEdge));
    if (blocks <= grain) {
      copy_transposed<T>(job, 0, blocks);
    } else {
      host->parallel_for(host->self, blocks, grain, &copy_transposed<T>, job);
    }
  } else if (loops.numel <= kCheapGrain) {
    copy_strided_rows<T>(job, 0, loops.numel);
  } else {
    host->parallel_for(host->self, loops.numel, kCheapGrain, &copy_strided_rows<T>, job);
  }
}

// `to` and `from` have the same dims and dtype and do not overlap.
inline void copy_tensor(const mill_kernel_tensor& to, const mill_kernel_tensor& from,
                        const mill_host_services* host) {
  if (to.numel == 0) return;
  const int32_t size = dtype_size(to.dtype);
  if (dense(to) && dense(from) && to.numel <= kCheapGrain) {
    std::memcpy(to.data, from.data, static_cast<size_t>(to.numel * size));
    return;
  }
  CopyJob job;
  const mill_kernel_tensor* operands[2] = {&to, &from};
  build_loops(&job.loops, operands, 2);
  job.to = static_cast<char*>(to.data);
  job.from = static_cast<const char*>(from.data);
  job.size = size;
  if (job.loops.strides[0][0] == 1 && job.loops.strides[1][0] == 1) {
    if (job.loops.numel <= kCheapGrain) {
      copy_run_rows(&job, 0, job.loops.numel);
    } else {
      host->parallel_for(host->self, job.loops.numel, kCheapGrain, &copy_run_rows, &job);
    }
    return;
  }
  switch (size) {
    case 1: copy_elements<uint8_t>(&job, host); break;
    case 2: copy_elements<uint16_t>(&job, host); break;
    case 4: copy_elements<uint32_t>(&job, host); break;
    case 8: copy_elements<uint64_t>(&job, host); break;
    default: copy_elements<Bytes16>(&job, host); break;
  }
}

template <class T>
void fill_run(const void* value, const Run& run) {
  T element;
  std::memcpy(&element, value, sizeof(T));
  T* out = static_cast<T*>(run.out);
  for (int64_t i = 0; i < run.n; ++i) out[i] = element;
}

template <class T>
void fill_elements(const mill_kernel_args* args, const void* value) {
  Pointwise job;
  job.run = &fill_run<T>;
  job.write = &write_strided<T, T>;
  job.functor = value;
  run_pointwise(args, &job, false, sizeof(T), sizeof(T), kCheapGrain);
}

// Writes the element at `value` everywhere in out[0].
inline void fill_output(const mill_kernel_args* args, const void* value) {
  if (args->out[0]->numel == 0) return;
  switch (dtype_size(args->out[0]->dtype)) {
    case 1: fill_elements<uint8_t>(args, value); break;
    case 2: fill_elements<uint16_t>(args, value); break;
    case 4: fill_elements<uint32_t>(args, value); break;
    case 8: fill_elements<uint64_t>(args, value); break;
    default: fill_elements<Bytes16>(args, value); break;
  }
}

// Every storage type from one compute type.
template <class C>
WriteFn any_writer(int32_t dtype) {
  switch (dtype) {
#define MILL_CASE(number, S) \
  case number: return &write_strided<C, S>;
    MILL_CPU_STORAGE(MILL_CASE)
#undef MILL_CASE
    default: return nullptr;
  }
}

}  // namespace mill::cpu::MILL_TARGET
