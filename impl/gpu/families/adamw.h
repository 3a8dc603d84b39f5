// Launches of AdamW over lists of tensors. A family includes kernels/block/optim.inl first, then
// this, both inside its anonymous namespace: it has no guard and includes nothing.

// Where a step's scalars lie on the device; clip may be null.
struct adamw_scalars {
  const void* rate;
  const int64_t* step;
  const void* clip;
};

// Tensors of one launch: their table is a kernel parameter, which older drivers limit to 4096
// bytes.
inline constexpr int kAdamwTensors = 32;

template <bool Master, class S>
bool adamw_aligned(const adamw_tensor<S>& x) {
  return (Master || aligned(x.param.raw, 16)) && aligned(x.grad.raw, 16) && aligned(x.m.raw, 16) &&
         aligned(x.v.raw, 16) && aligned(x.param_out.raw, 16) && aligned(x.m_out.raw, 16) &&
         aligned(x.v_out.raw, 16) &&
         (!Master || (aligned(x.master.raw, 16) && aligned(x.master_out.raw, 16)));
}

// One launch over the table's tensors: sets chunk and first blocks.
template <bool Master, class S, int N>
mill_status adamw_launch(const mill_kernel_args* args, const adamw_options& options,
                         const adamw_scalars& scalars, adamw_table<S, N>* table) {
  using C = acc_t<S>;
  static_assert(sizeof(adamw_table<S, N>) + sizeof(adamw_options) + sizeof(adamw_scalars) <= 4096);
  constexpr int W = static_cast<int>(16 / sizeof(S));
  constexpr int64_t kStep = kThreads * W;
  // Eight blocks for each of 132 multiprocessors, none so long that the last ones wait for it.
  constexpr int64_t kBlocks = 132 * 8;
  constexpr int64_t kMostChunk = 32768;
  int64_t elements = 0;
  bool vectors = true;
  for (int32_t k = 0; k < table->count; ++k) {
    elements += table->tensor[k].numel;
    vectors = vectors && adamw_aligned<Master>(table->tensor[k]);
  }
  if (elements == 0) return MILL_OK;
  table->chunk =
      smaller(kMostChunk, larger<int64_t>(1, ceil_div(ceil_div(elements, kBlocks), kStep)) * kStep);
  // A grid has at most 2^31 - 1 blocks.
  while (elements / table->chunk > int64_t{1} << 30) table->chunk *= 2;
  int64_t blocks = 0;
  for (int32_t k = 0; k < table->count; ++k) {
    table->tensor[k].first_block = blocks;
    blocks += ceil_div(table->tensor[k].numel, table->chunk);
  }
  const auto count = static_cast<uint64_t>(elements);
  const uint64_t each = (Master ? 2 : 3) * sizeof(S) + (Master ? 6 : 4) * sizeof(C);
  const cost c{count * each, 14 * count, sizeof(C) == 8 ? unit::f64 : unit::f32};
  const shape grid{blocks, kThreads};
  if (vectors) {
    return launch<adamw_update<kThreads, W, Master, S, N>>(
        args, grid, c, options, *table, scalars.rate, scalars.step, scalars.clip);
  }
  return launch<adamw_update<kThreads, 1, Master, S, N>>(args, grid, c, options, *table,
                                                         scalars.rate, scalars.step, scalars.clip);
}

// Any number of tensors, in as few launches as their tables take.
template <bool Master, class S>
mill_status adamw_list(const mill_kernel_args* args, const adamw_options& options,
                       const adamw_scalars& scalars, const adamw_tensor<S>* tensors, size_t n) {
  for (size_t first = 0; first < n; first += kAdamwTensors) {
    adamw_table<S, kAdamwTensors> table;
    table.count = static_cast<int32_t>(smaller<size_t>(n - first, kAdamwTensors));
    for (int32_t k = 0; k < table.count; ++k)
      table.tensor[k] = tensors[first + static_cast<size_t>(k)];
    const mill_status status = adamw_launch<Master>(args, options, scalars, &table);
    if (status != MILL_OK) return status;
  }
  return MILL_OK;
}
