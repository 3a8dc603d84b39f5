// Launches that look for a zero divisor. A family includes kernels/block/zero_divisor.inl and
// elementwise.h first, then this, inside its anonymous namespace: it has no guard and includes
// nothing.

// A walk over the elements of b in row-major order, without the axes along which it is broadcast.
inline walk<1> walk_in_order(const mill_kernel_tensor& b) {
  mill_kernel_tensor lone{};
  lone.numel = 1;
  walk<1> w(lone, {&lone});
  int32_t rank = 0;
  for (int32_t i = b.rank; i-- > 0;) {
    if (b.dims[i] == 1 || b.strides[i] == 0) continue;
    w.size[rank] = b.dims[i];
    w.stride[rank][0] = b.strides[i];
    ++rank;
  }
  w.rank = larger(rank, 1);
  return w;
}

template <class T>
mill_status find_zeros(const mill_kernel_args* args, int32_t op) {
  const mill_kernel_tensor& b = *args->in[1];
  const cost c{distinct_bytes(b)};
  const walk<1> w = walk_in_order(b);
  const int64_t total = w.count();
  int64_t first = 0;
  return each_part(w, [&](const geometry<1>& g, const int64_t(&o)[1]) {
    const mill_status status = launch<find_zero<kThreads, T>>(
        args, shape_for(g.count), share_of(c, g.count, total), g, first, op,
        static_cast<const T*>(b.data) + o[0], faults_of(args));
    first += g.count;
    return status;
  });
}

// Before the first write, which may be to b. Floats divide by zero.
inline mill_status refuse_zeros(const mill_kernel_args* args, int32_t op) {
  const int32_t dtype = args->in[0]->dtype;
  if (!is_integer(dtype) || args->out[0]->numel == 0) return MILL_OK;
  switch (mill::dtype_size(dtype)) {
    case 1: return find_zeros<uint8_t>(args, op);
    case 2: return find_zeros<uint16_t>(args, op);
    case 4: return find_zeros<uint32_t>(args, op);
    default: return find_zeros<uint64_t>(args, op);
  }
}
