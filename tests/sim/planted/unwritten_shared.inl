// Half of the slots are written, all are read.
MILL_KERNEL(64, 1)
unwritten_shared(Block t, MILL_PARAM(Operands) o, int n, const float* in, float* out, float*,
                 int32_t*) {
  struct Scratch {
    float value[64];
  };
  MILL_SHARED(t, Scratch, s);
  if (t.tid() < 32) s.value[t.tid()] = in[t.tid()];
  t.barrier();
  out[t.tid()] = s.value[63 - t.tid()];  // planted
}
