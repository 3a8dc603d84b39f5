// Lanes count by an atomic, one looks at the count without.
MILL_KERNEL(64, 1)
mixed_atomic(Flat t, MILL_PARAM(Operands) o, int n, const float* in, float*, float*,
             int32_t* count) {
  if (in[t.tid()] > 0) atomic_add(&count[0], int32_t{1});  // planted
  if (t.tid() == 63) count[1] = count[0];                  // planted
}
