// Lane i reads what lane i + 1 writes, without waiting for it.
MILL_KERNEL(64, 1)
missing_barrier(Block t, MILL_PARAM(Operands) o, int n, const float* in, float* out, float*,
                int32_t*) {
  struct Scratch {
    float value[64];
  };
  MILL_SHARED(t, Scratch, s);
  s.value[t.tid()] = 0;
  t.barrier();
  s.value[t.tid()] = in[t.tid()];              // planted
  out[t.tid()] = s.value[(t.tid() + 1) % 64];  // planted
}
