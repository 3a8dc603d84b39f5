// The launch has asked for 64 values, behind them lies the struct.
MILL_KERNEL(64, 1)
dynamic_overflow(Block t, MILL_PARAM(Operands) o, int n, const float* in, float* out, float*,
                 int32_t*) {
  struct Scratch {
    float value[64];
  };
  MILL_SHARED(t, Scratch, s);
  auto* rows = t.template dynamic<float>();
  s.value[t.tid()] = 0;
  rows[t.tid() + 4] = in[t.tid()];  // planted
  t.barrier();
  out[t.tid()] = rows[t.tid()] + s.value[t.tid()];
}
