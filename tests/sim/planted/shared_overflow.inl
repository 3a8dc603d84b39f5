// One slot more than there are.
MILL_KERNEL(64, 1)
shared_overflow(Block t, MILL_PARAM(Operands) o, int n, const float* in, float* out, float*,
                int32_t*) {
  struct Scratch {
    float value[64];
  };
  MILL_SHARED(t, Scratch, s);
  float* slot = s.value;
  slot[t.tid() + 1] = in[t.tid()];  // planted
  t.barrier();
  out[t.tid()] = slot[t.tid() + 1];
}
