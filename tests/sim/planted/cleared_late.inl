// One lane clears the counter, nobody waits for it before counting.
MILL_KERNEL(64, 1)
cleared_late(Block t, MILL_PARAM(Operands) o, int n, const float*, float* out, float*, int32_t*) {
  struct Scratch {
    int32_t count;
  };
  MILL_SHARED(t, Scratch, s);
  if (t.tid() == 0) s.count = 0;     // planted
  atomic_add(&s.count, int32_t{1});  // planted
  t.barrier();
  out[t.tid()] = static_cast<float>(s.count);
}
