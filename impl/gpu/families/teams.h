// Launches in which a team of threads moves a row. A family includes kernels/block/ids.inl first,
// then this, both inside its anonymous namespace: it has no guard and includes nothing.

// A row's units belong to a team, as many threads as the row keeps busy.
inline int team_log2_of(int64_t units) {
  int log2 = 0;
  while ((1 << log2) < kThreads && (int64_t{1} << log2) < units) ++log2;
  return log2;
}
inline shape team_grid(int64_t teams, int team_log2) {
  return {blocks_for(teams, kThreads >> team_log2), kThreads};
}

// call.operator()<U, W>() with the widest unit, W values of U, that rows of this many bytes at both
// places consist of.
template <class F>
mill_status with_row_unit(int64_t row_bytes, const void* from, const void* to, F&& call) {
  const auto alike = static_cast<uintptr_t>(row_bytes) | reinterpret_cast<uintptr_t>(from) |
                     reinterpret_cast<uintptr_t>(to);
  if ((alike & 15) == 0) return call.template operator()<uint32_t, 4>();
  if ((alike & 7) == 0) return call.template operator()<uint32_t, 2>();
  if ((alike & 3) == 0) return call.template operator()<uint32_t, 1>();
  if ((alike & 1) == 0) return call.template operator()<uint16_t, 1>();
  return call.template operator()<uint8_t, 1>();
}
