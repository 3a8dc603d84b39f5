// Two values at a time out of an odd number of them.
MILL_KERNEL(64, 1)
wide_tail(Flat t, MILL_PARAM(Operands) o, int n, const float*, float* out, float*, int32_t* count) {
  if (t.tid() != 0) return;
  const auto* pairs = reinterpret_cast<const int64_t*>(count);
  int64_t sum = 0;
  for (int i = 0; i < 8; ++i) sum += pairs[i];  // planted
  out[0] = static_cast<float>(sum);
}
