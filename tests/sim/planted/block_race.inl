// Each block adds its part to the total as if it were alone.
MILL_KERNEL(64, 1)
block_race(Block t, MILL_PARAM(Operands) o, int n, const float* in, float* out, float*, int32_t*) {
  float sum = in[t.tid()];
  sum = t.warp_reduce(sum, plus());
  if (t.tid() == 0) out[0] = sum;  // planted
}
