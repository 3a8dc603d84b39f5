// Elements as unsigned integers of the same order, on every device.
#pragma once

#include <cstdint>

#include "kernels/functors/vocabulary.h"
#include "millrace/types.h"

namespace mill::kernels {

// K: an unsigned integer of the element's size, whose bits it is made from.
template <class K>
struct SortKey {
  K sign;      // 0 for unsigned integers
  K infinity;  // its bits; 0 for integers
  K flip;      // all ones for the descending order

  // -0 is 0, and every NaN the same, above everything.
  MILL_FN K of(K bits) const {
    if (infinity == 0) return static_cast<K>(bits ^ sign ^ flip);
    const K size = static_cast<K>(bits & static_cast<K>(~sign));
    K key = static_cast<K>(bits | sign);
    if ((bits & sign) != 0) key = static_cast<K>(size == 0 ? sign : static_cast<K>(~bits));
    if (size > infinity) key = static_cast<K>(~static_cast<K>(0));
    return static_cast<K>(key ^ flip);
  }
};

// Static: a copy compiled for one SIMD target must not serve another.
template <class K>
static inline SortKey<K> sort_key(int32_t dtype, bool descending) {
  uint64_t infinity = 0;
  bool has_sign = true;
  switch (dtype) {
    case MILL_U8: has_sign = false; break;
    case MILL_F16: infinity = 0x7c00; break;
    case MILL_BF16: infinity = 0x7f80; break;
    case MILL_F32: infinity = 0x7f800000; break;
    case MILL_F64: infinity = 0x7ff0000000000000; break;
    default: break;
  }
  const K top = static_cast<K>(uint64_t{1} << (8 * sizeof(K) - 1));
  return {has_sign ? top : static_cast<K>(0), static_cast<K>(infinity),
          descending ? static_cast<K>(~static_cast<K>(0)) : static_cast<K>(0)};
}

}  // namespace mill::kernels
