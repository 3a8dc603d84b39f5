// Indices of any integer dtype, and teams of threads that move a row together.

MILL_DEVICE int64_t id_at(const void* ids, int dtype, int64_t i) {
  switch (dtype) {
    case MILL_U8: return static_cast<const uint8_t*>(ids)[i];
    case MILL_I8: return static_cast<const int8_t*>(ids)[i];
    case MILL_I16: return static_cast<const int16_t*>(ids)[i];
    case MILL_I32: return static_cast<const int32_t*>(ids)[i];
    default: return static_cast<const int64_t*>(ids)[i];
  }
}

MILL_DEVICE bool is_row(int64_t id, int64_t rows) {
  return static_cast<uint64_t>(id) < static_cast<uint64_t>(rows);
}

// Teams of 2^team_log2 neighbouring threads: which of the grid's teams this is, how many there are,
// and which member.
MILL_DEVICE int64_t team_index(const Flat& t, int team_log2) {
  return t.bid() * (t.block_dim() >> team_log2) + (t.tid() >> team_log2);
}
MILL_DEVICE int64_t team_count(const Flat& t, int team_log2) {
  return t.grid_dim() * (t.block_dim() >> team_log2);
}
MILL_DEVICE int team_member_of(const Flat& t, int team_log2) {
  return t.tid() & ((1 << team_log2) - 1);
}
