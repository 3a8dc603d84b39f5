// A shuffle moves values between lanes, it does not order their writes.
MILL_KERNEL(64, 1)
missing_warp_sync(Block t, MILL_PARAM(Operands) o, int n, const float* in, float* out, float*,
                  int32_t*) {
  struct Scratch {
    float value[64];
  };
  MILL_SHARED(t, Scratch, s);
  s.value[t.tid()] = in[t.tid()];  // planted
  const float other = t.shfl_xor(in[t.tid()], 1);
  out[t.tid()] = other + s.value[t.tid() ^ 1];  // planted
}
