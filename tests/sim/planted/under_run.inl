// The first lane writes the element before the output.
MILL_KERNEL(64, 1)
under_run(Flat t, MILL_PARAM(Operands) o, int n, const float* in, float* out, float*, int32_t*) {
  const auto i = t.global_id();
  if (i < n) out[i - 1] = static_cast<float>(i);  // planted
}
