// Names of the ops that have CPU kernels, for messages. The engine's op table is out of this room's
// reach.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdio>

#include "millrace/op_numbers.h"

namespace mill::cpu {

// clang-format off
#define MILL_CPU_OPS(X)                                                                           \
  X(FILL) X(ARANGE) X(CAST) X(COPY) X(CONTIGUOUS) X(UNIFORM) X(NORMAL) X(DROPOUT) X(RNG_NEXT)     \
  X(CONCAT) X(SLICE_BACKWARD) X(SUM_TO) X(NEG) X(EXP) X(LOG) X(SQRT) X(RSQRT) X(TANH) X(SIGMOID)  \
  X(RELU) X(GELU) X(ABS) X(SIGN) X(AFFINE) X(TANH_BACKWARD) X(SIGMOID_BACKWARD) X(RELU_BACKWARD)  \
  X(GELU_BACKWARD) X(ADD) X(SUB) X(MUL) X(DIV) X(POW) X(MAXIMUM) X(MINIMUM) X(COMPARE) X(WHERE)   \
  X(SUM) X(MEAN) X(MAX) X(ARGMAX) X(MATMUL) X(LINEAR) X(SOFTMAX) X(LOG_SOFTMAX)                   \
  X(SOFTMAX_BACKWARD) X(LOG_SOFTMAX_BACKWARD) X(CROSS_ENTROPY) X(CROSS_ENTROPY_BACKWARD)          \
  X(LAYER_NORM) X(LAYER_NORM_BACKWARD) X(EMBEDDING) X(EMBEDDING_BACKWARD) X(SGD_STEP)             \
  X(ADAMW_STEP) X(SQUARED_NORM) X(CLIP_FACTOR) X(SCHEDULE) X(INCREMENT)
// clang-format on

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
