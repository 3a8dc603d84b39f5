// Kernels with nothing wrong, near to those with something.

// Blocks and lanes meet at counters by atomics alone.
MILL_KERNEL(64, 1)
clean_atomics(Block t, MILL_PARAM(Operands) o, int n, const float* in, float* out, float*,
              int32_t* count) {
  struct Scratch {
    int32_t bin[8];
  };
  MILL_SHARED(t, Scratch, s);
  if (t.tid() < 8) s.bin[t.tid()] = 0;
  t.barrier();
  atomic_add(&s.bin[t.tid() % 8], int32_t{1});
  t.barrier();
  if (t.tid() < 8) atomic_add(&count[t.tid()], s.bin[t.tid()]);
  atomic_max(&count[8], static_cast<int32_t>(t.tid()));
  if (t.bid() == 0) out[t.tid()] = in[t.tid()];
}

// Neighbours in one word, of one and of two bytes.
MILL_KERNEL(64, 1)
clean_neighbours(Flat t, MILL_PARAM(Operands) o, int n, const float* in, float* out, float* scratch,
                 int32_t*) {
  const auto i = t.global_id();
  auto* bytes = reinterpret_cast<uint8_t*>(scratch);
  auto* halves = reinterpret_cast<uint16_t*>(scratch + 64);
  if (i >= n) return;
  bytes[i] = static_cast<uint8_t>(i);
  halves[i] = static_cast<uint16_t>(3 * i);
  out[i] = in[i] + static_cast<float>(bytes[i] + halves[i]);
}

// A warp passes values through shared memory and uses the slots again.
MILL_KERNEL(64, 1)
clean_warp_exchange(Block t, MILL_PARAM(Operands) o, int n, const float* in, float* out, float*,
                    int32_t*) {
  struct Scratch {
    float value[64];
  };
  MILL_SHARED(t, Scratch, s);
  float x = in[t.tid()];
  for (int step = 1; step < 32; step *= 2) {
    s.value[t.tid()] = x;
    t.warp_sync();
    x += s.value[t.tid() ^ step];
    t.warp_sync();
  }
  if (t.bid() == 0) out[t.tid()] = x;
}

// Every lane reads every slot, between barriers.
MILL_KERNEL(64, 1)
clean_barriers(Block t, MILL_PARAM(Operands) o, int n, const float* in, float* out, float*,
               int32_t*) {
  struct Scratch {
    float value[64];
  };
  MILL_SHARED(t, Scratch, s);
  float sum = 0;
  for (int round = 0; round < 3; ++round) {
    s.value[t.tid()] = in[t.tid()] + static_cast<float>(round);
    t.barrier();
    for (int i = 0; i < 64; ++i) sum += s.value[i];
    t.barrier();
  }
  if (t.bid() == 0) out[t.tid()] = t.warp_reduce(sum, plus());
}

// Both kinds of shared memory to their last byte, vectors, a warp that reads what the block wrote
// to global memory before a barrier.
MILL_KERNEL(64, 1)
clean_vectors(Block t, MILL_PARAM(Operands) o, int n, const float* in, float* out, float* scratch,
              int32_t*) {
  struct Scratch {
    float value[64];
  };
  MILL_SHARED(t, Scratch, s);
  auto* rows = t.template dynamic<float>();
  const float* mine = o.in.get(t);
  if (t.tid() < 16) store(rows + t.tid() * 4, load<4>(mine + t.tid() * 4));
  s.value[63 - t.tid()] = in[t.tid()];
  scratch[t.bid() * 64 + t.tid()] = in[t.tid()];
  t.barrier();
  const float x = rows[63 - t.tid()] + s.value[t.tid()] + scratch[t.bid() * 64 + (t.tid() ^ 33)];
  if (t.bid() == 0) out[t.tid()] = x;
}

// Structs with padding inside: members are written, the whole is copied.
struct padded {
  float value;
  int64_t index;
};
MILL_KERNEL(64, 1)
clean_padding(Block t, MILL_PARAM(Operands) o, int n, const float* in, float* out, float*,
              int32_t*) {
  struct Scratch {
    padded slot[64];
  };
  MILL_SHARED(t, Scratch, s);
  s.slot[t.tid()].value = in[t.tid()];
  s.slot[t.tid()].index = t.tid();
  for (int half = 32; half > 0; half /= 2) {
    t.barrier();
    if (t.tid() < half) {
      const padded other = s.slot[t.tid() + half];
      if (other.value > s.slot[t.tid()].value) s.slot[t.tid()] = other;
    }
  }
  t.barrier();
  const padded top = s.slot[0];
  if (t.bid() == 0) out[t.tid()] = top.value + static_cast<float>(top.index);
}

// Blocks write their parts, the next launch reads them all.
MILL_KERNEL(64, 1)
clean_parts(Flat t, MILL_PARAM(Operands) o, int n, const float* in, float* out, float* scratch,
            int32_t*) {
  if (t.tid() == 0) scratch[t.bid()] = in[t.bid()];
  if (t.bid() == 0) out[t.tid()] = 0;
}
MILL_KERNEL(64, 1)
clean_total(Flat t, MILL_PARAM(Operands) o, int n, const float* in, float* out, float* scratch,
            int32_t*) {
  float sum = 0;
  for (int64_t i = 0; i < t.grid_dim(); ++i) sum += scratch[i];
  if (t.bid() == 0) out[t.tid()] = sum + in[t.tid()];
}
