// Half of the warp takes part.
MILL_KERNEL(64, 1)
divergent_shuffle(Block t, MILL_PARAM(Operands) o, int n, const float* in, float* out, float*,
                  int32_t*) {
  float x = in[t.tid()];
  if (t.lane() < 16) x += t.shfl_down(x, 8);  // planted
  t.barrier();
  out[t.tid()] = x;
}
