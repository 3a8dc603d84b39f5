// Lanes without an element leave before the others have met.
MILL_KERNEL(64, 1)
early_return(Block t, MILL_PARAM(Operands) o, int n, const float* in, float* out, float*,
             int32_t*) {
  if (t.tid() >= 40) return;
  out[t.tid()] = in[t.tid()];
  t.barrier();  // planted
}
