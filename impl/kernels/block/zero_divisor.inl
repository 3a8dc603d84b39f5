// What integer division needs. After elementwise.inl.

// Raises a fault if an element of b is zero. `first` is the position of the walk's first element.
template <int Threads, class T>
MILL_KERNEL(Threads, 2)
find_zero(Flat t, MILL_PARAM(geometry<1>) g, int64_t first, int32_t op, const T* b,
          fault_slot* slot) {
  for (int64_t i = t.global_id(); i < g.count; i += t.global_size()) {
    if (b[place(g, static_cast<uint32_t>(i)).at[0]] == 0)
      raise_fault(slot, op, 1, first + i, 0, 0, 0);
  }
}
