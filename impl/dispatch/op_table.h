// The rows of the op table as data. The table itself is generated from api/gen/ops.toml into
// ops/op_table.gen.cpp.
#pragma once

#include <cstdint>

#include "millrace/types.h"

namespace mill {

enum class OpKind : uint8_t { pointwise, view, strided, dense };
enum class ResultType : uint8_t { same, second, boolean, i64, f32, stat, attr, key };
enum class GradientKind : uint8_t { yes, no, zero };
// What an exec with autocast does to floating inputs: keep leaves them, low casts them to the exec's
// 16-bit dtype, high casts 16-bit ones to f32.
enum class Autocast : uint8_t { keep, low, high };

struct AttrRow {
  const char* name;
  int32_t kind;
  bool required;
  bool boolean;
  mill_attr value;  // the default; id is the ordinal
};

struct InputRow {
  const char* name;
  bool optional;
  bool list;
  bool same;        // must have the lead input's dtype after promotion
  uint32_t dtypes;  // bit d set: dtype d is taken
};

struct OutputRow {
  const char* name;
  ResultType type;
};

struct InplaceRow {
  uint8_t output;
  uint8_t input;
};

struct OpRules;

struct OpRow {
  int32_t number;
  int32_t version;
  const char* name;
  const char* family;
  OpKind kind;
  GradientKind gradient;
  Autocast autocast;
  bool random;
  const InputRow* inputs;
  uint32_t n_inputs;
  const OutputRow* outputs;
  uint32_t n_outputs;
  const AttrRow* attrs;
  uint32_t n_attrs;
  const InplaceRow* inplace;
  uint32_t n_inplace;
  const char* doc;
  const OpRules* rules;
};

const OpRow* op_table();  // sorted by number
uint32_t op_table_size();

}  // namespace mill
