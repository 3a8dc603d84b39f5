// More lanes than elements, and nobody asks.
MILL_KERNEL(64, 1)
short_buffer(Flat t, MILL_PARAM(Operands) o, int n, const float* in, float* out, float*, int32_t*) {
  const auto i = t.global_id();
  out[i + 32] = static_cast<float>(i);  // planted
}
