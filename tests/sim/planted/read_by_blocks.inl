// Every block reads the element, the last one overwrites it as if the others had been before.
MILL_KERNEL(64, 1)
read_by_blocks(Flat t, MILL_PARAM(Operands) o, int n, const float*, float* out, float*,
               int32_t* count) {
  if (t.tid() != 0) return;
  const int32_t value = count[0];  // planted
  out[t.bid()] = static_cast<float>(value);
  if (t.bid() + 1 == t.grid_dim()) count[0] = value + 1;  // planted
}
