// A pointer out of a struct is the host's view of device memory.
MILL_KERNEL(64, 1)
untranslated(Flat t, MILL_PARAM(Operands) o, int n, const float*, float* out, float*, int32_t*) {
  const auto i = t.global_id();
  if (i < n) out[i] = o.in.raw[i];  // planted
}
