// In place: a lane overwrites what its neighbour may not have read yet.
MILL_KERNEL(64, 1)
stencil(Block t, MILL_PARAM(Operands) o, int n, const float* in, float* out, float*, int32_t*) {
  struct Scratch {
    float value[65];
  };
  MILL_SHARED(t, Scratch, s);
  s.value[t.tid()] = in[t.tid()];
  if (t.tid() == 0) s.value[64] = 0;
  t.barrier();
  const float next = s.value[t.tid() + 1];     // planted
  s.value[t.tid()] = s.value[t.tid()] + next;  // planted
  t.barrier();
  out[t.tid()] = s.value[t.tid()];
}
