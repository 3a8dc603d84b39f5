// Names of the ops that have CPU kernels, for messages. The engine's op table is out of this room's
// reach.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdio>

#include "cpu/families.gen.h"
#include "millrace/op_numbers.h"

namespace mill::cpu {

inline constexpr size_t kOpNameSize = 40;

// The op's name as the op table spells it, or "op <number>"; in `buffer`.
inline const char* op_name(int32_t op, char (&buffer)[kOpNameSize]) {
  const char* found = nullptr;
  switch (op) {
#define MILL_CPU_OP_NAME(NAME) \
  case MILL_OP_##NAME: found = #NAME; break;
    MILL_CPU_OPS(MILL_CPU_OP_NAME)
#undef MILL_CPU_OP_NAME
    default: break;
  }
  if (found == nullptr) {
    std::snprintf(buffer, sizeof(buffer), "op %d", op);
    return buffer;
  }
  size_t i = 0;
  for (; found[i] != 0 && i + 1 < kOpNameSize; ++i) {
    buffer[i] =
        found[i] >= 'A' && found[i] <= 'Z' ? static_cast<char>(found[i] - 'A' + 'a') : found[i];
  }
  buffer[i] = 0;
  return buffer;
}

}  // namespace mill::cpu
