// Adds to a workspace that nobody has cleared.
MILL_KERNEL(64, 1)
unwritten_global(Flat t, MILL_PARAM(Operands) o, int n, const float* in, float* out, float* scratch,
                 int32_t*) {
  const auto i = t.global_id();
  if (i < n) scratch[i] += in[i];  // planted
}
