// Each half of the block waits for the whole of it at a place of its own.
MILL_KERNEL(64, 1)
barrier_in_branch(Block t, MILL_PARAM(Operands) o, int n, const float* in, float* out, float*,
                  int32_t*) {
  if (t.tid() < 32) {
    out[t.tid()] = in[t.tid()];
    t.barrier();  // planted
  } else {
    t.barrier();  // planted
    out[t.tid()] = 0;
  }
}
