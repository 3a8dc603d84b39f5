#include "gpu/runtime/cuda/gemm_shape.h"

#include <utility>

#include "millrace/op_numbers.h"

namespace mill::cuda {

namespace {

struct Sides {
  int64_t a, b, out;
};

// The op's own view: out [m, n] = a [m, k] b [k, n], any strides, over at most one batch axis.
struct Product {
  int64_t m = 1, n = 1, k = 1, batch = 1;
  int64_t a_row = 0, a_col = 0, b_row = 0, b_col = 0, out_row = 0, out_col = 0;
  Sides step = {0, 0, 0};
};

// Leading axes come from the inside out. One whose elements continue the rows makes more rows, one
// that continues the batch a longer batch.
bool add_axis(Product* p, int64_t size, const Sides& stride) {
  if (size == 1) return true;
  if (p->batch == 1 && stride.b == 0) {
    if (p->m == 1) {
      p->m = size;
      p->a_row = stride.a;
      p->out_row = stride.out;
      return true;
    }
    if (stride.a == p->a_row * p->m && stride.out == p->out_row * p->m) {
      p->m *= size;
      return true;
    }
  }
  if (p->batch == 1) {
    p->batch = size;
    p->step = stride;
    return true;
  }
  if (stride.a != p->step.a * p->batch || stride.b != p->step.b * p->batch ||
      stride.out != p->step.out * p->batch)
    return false;
  p->batch *= size;
  return true;
}

int64_t stride_of(const mill_kernel_tensor& t, int32_t axis) {
  return axis < 0 || t.dims[axis] == 1 ? 0 : t.strides[axis];
}

bool read_matmul(const mill_kernel_args* args, Product* p) {
  const mill_kernel_tensor& a = *args->in[0];
  const mill_kernel_tensor& b = *args->in[1];
  const mill_kernel_tensor& out = *args->out[0];
  const int32_t a_axes = a.rank > 1 ? 2 : 1;
  const int32_t b_axes = b.rank > 1 ? 2 : 1;
  int32_t axis = out.rank - 1;
  p->k = a.dims[a.rank - 1];
  p->a_col = a.strides[a.rank - 1];
  p->b_row = b.strides[b.rank - b_axes];
  if (b_axes == 2) {
    p->n = b.dims[b.rank - 1];
    p->b_col = b.strides[b.rank - 1];
    p->out_col = out.strides[axis--];
  }
  if (a_axes == 2) {
    p->m = a.dims[a.rank - 2];
    p->a_row = a.strides[a.rank - 2];
    p->out_row = out.strides[axis--];
  }
  const int32_t a_shift = a.rank - a_axes - 1 - axis;
  const int32_t b_shift = b.rank - b_axes - 1 - axis;
  for (; axis >= 0; --axis) {
    const Sides stride{stride_of(a, axis + a_shift), stride_of(b, axis + b_shift),
                       out.strides[axis]};
    if (!add_axis(p, out.dims[axis], stride)) return false;
  }
  return true;
}

// x [..., in], weight [out, in].
bool read_linear(const mill_kernel_args* args, Product* p) {
  const mill_kernel_tensor& x = *args->in[0];
  const mill_kernel_tensor& weight = *args->in[1];
  const mill_kernel_tensor& out = *args->out[0];
  p->n = weight.dims[0];
  p->k = weight.dims[1];
  p->a_col = x.strides[x.rank - 1];
  p->b_row = weight.strides[1];
  p->b_col = weight.strides[0];
  p->out_col = out.strides[out.rank - 1];
  for (int32_t axis = out.rank - 2; axis >= 0; --axis) {
    if (!add_axis(p, out.dims[axis], {stride_of(x, axis), 0, out.strides[axis]})) return false;
  }
  return true;
}

// A matrix whose element (i, j) is at i * row + j * col. The stride of an axis of one element says
// nothing.
bool place(int64_t rows, int64_t cols, int64_t row, int64_t col, int64_t step, GemmMatrix* out) {
  if (row == 1 || rows == 1) {
    const int64_t ld = cols == 1 ? rows : col;
    if (ld >= rows) {
      *out = {rows, cols, ld, step, false};
      return true;
    }
  }
  if (col == 1 || cols == 1) {
    const int64_t ld = rows == 1 ? cols : row;
    if (ld >= cols) {
      *out = {cols, rows, ld, step, true};
      return true;
    }
  }
  return false;
}

}  // namespace

const char* shape_gemm(int32_t op, const mill_kernel_args* args, GemmShape* out) {
  Product p;
  if (!(op == MILL_OP_LINEAR ? read_linear(args, &p) : read_matmul(args, &p)))
    return "the batch axes have no common stride";
  if (p.m == 0 || p.n == 0 || p.k == 0 || p.batch == 0) return "there is nothing to multiply";
  if (p.batch > INT32_MAX) return "the batch is longer than 2^31 - 1";

  GemmShape& s = *out;
  s.batch = p.batch;
  s.k = p.k;
  s.swapped = true;
  if (!place(p.n, p.m, p.out_col, p.out_row, p.step.out, &s.d) || s.d.transposed) {
    s.swapped = false;
    if (!place(p.m, p.n, p.out_row, p.out_col, p.step.out, &s.d) || s.d.transposed)
      return "neither axis of the result is contiguous";
  }
  if (s.swapped) {
    // Transposed, the second operand comes first.
    std::swap(p.m, p.n);
    std::swap(p.a_row, p.b_col);
    std::swap(p.a_col, p.b_row);
    std::swap(p.step.a, p.step.b);
  }
  s.m = p.m;
  s.n = p.n;
  if (!place(p.m, p.k, p.a_row, p.a_col, p.step.a, &s.a) ||
      !place(p.k, p.n, p.b_row, p.b_col, p.step.b, &s.b))
    return "neither axis of an operand is contiguous";
  if (op == MILL_OP_LINEAR && args->n_in > 2 && args->in[2] != nullptr) {
    if (!s.swapped) return "the bias does not run along the result's contiguous axis";
    if (s.m > 1 && args->in[2]->strides[0] != 1) return "the bias is not contiguous";
  }
  return nullptr;
}

}  // namespace mill::cuda
