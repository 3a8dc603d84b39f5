// Four values at once from an address that is a multiple of one.
MILL_KERNEL(64, 1)
misaligned(Flat t, MILL_PARAM(Operands) o, int n, const float* in, float* out, float*, int32_t*) {
  const auto i = t.global_id() * 4;
  if (i + 5 > n) return;
  const vec<float, 4> x = load<4>(in + i + 1);  // planted
  store(out + i, x);
}
