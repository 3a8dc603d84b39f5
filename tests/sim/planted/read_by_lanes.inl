// A lane reads its slot, then the neighbour does, then the lane overwrites it: in one warp, without
// a warp_sync between.
MILL_KERNEL(64, 1)
read_by_lanes(Block t, MILL_PARAM(Operands) o, int n, const float* in, float* out, float*,
              int32_t*) {
  struct Scratch {
    float value[64];
  };
  MILL_SHARED(t, Scratch, s);
  s.value[t.tid()] = in[t.tid()];
  t.barrier();
  float x = s.value[t.tid()];  // planted
  x = t.shfl_xor(x, 2);
  x += s.value[t.tid() ^ 1];  // planted
  x = t.shfl_xor(x, 2);
  s.value[t.tid()] = x;  // planted
  t.barrier();
  out[t.tid()] = s.value[t.tid()];
}
