// The last lane reads the element behind the input, which is memory of the device.
MILL_KERNEL(64, 1)
off_by_one(Flat t, MILL_PARAM(Operands) o, int n, const float* in, float* out, float*, int32_t*) {
  const auto i = t.global_id();
  if (i < n) out[i] = in[i + 1] - in[i];  // planted
}
