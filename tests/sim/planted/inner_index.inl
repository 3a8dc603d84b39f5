// Past an array inside a struct, into the one behind it.
MILL_KERNEL(64, 1)
inner_index(Block t, MILL_PARAM(Operands) o, int n, const float* in, float* out, float*, int32_t*) {
  struct Scratch {
    float first[2];
    float second[64];
  };
  MILL_SHARED(t, Scratch, s);
  s.second[t.tid()] = in[t.tid()];
  s.first[t.warp() + t.grid_dim()] = 1;  // planted
  t.barrier();
  out[t.tid()] = s.second[t.tid()];
}
