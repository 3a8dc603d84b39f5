// Only block 3 runs past the end.
MILL_KERNEL(64, 1)
late_block(Flat t, MILL_PARAM(Operands) o, int n, const float* in, float* out, float*, int32_t*) {
  const int64_t i = t.bid() == 3 ? t.tid() + 32 : t.tid();
  if (t.bid() == 3) out[i] = in[t.tid()];  // planted
}
