// A lane changes its slot while a lane of the other warp may be reading it. Shuffles let the warps
// run in turns.
MILL_KERNEL(64, 1)
read_by_warps(Block t, MILL_PARAM(Operands) o, int n, const float* in, float* out, float*,
              int32_t*) {
  struct Scratch {
    float value[64];
  };
  MILL_SHARED(t, Scratch, s);
  s.value[t.tid()] = in[t.tid()];
  t.barrier();
  float x = t.tid() == 0 ? s.value[0] : 0;  // planted
  for (int i = 0; i < 8; ++i) {
    x += t.shfl_xor(x, 1);
    if (t.tid() == 40 && i == 3) x += s.value[0];  // planted
  }
  if (t.tid() == 0) s.value[0] = x;  // planted
  out[t.tid()] = x;
}
