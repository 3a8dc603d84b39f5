// Every lane writes the one result.
MILL_KERNEL(64, 1)
two_writers(Flat t, MILL_PARAM(Operands) o, int n, const float* in, float* out, float*, int32_t*) {
  out[0] = in[t.tid()];  // planted
}
