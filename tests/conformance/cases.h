// The samples of api/gen/ops.toml as data. cases.gen.inc is generated; the types stand here.
//
// `cases` holds one entry per sample. A reference implementation is chosen by name: build a table
// from the list with
//
//   #define MILL_REFERENCE(name) &ref_##name<T>,
//   #include "conformance/cases.gen.inc"
//   #undef MILL_REFERENCE
//
// whose entries stand in the order of the enum Reference.
#pragma once

#include <cstdint>

#include "millrace/op_numbers.h"
#include "millrace/types.h"

namespace mill_cases {

// The element type of an input while the op is tested in some type T. stat: f32, f64 for f64.
// index: any integer type.
enum class InputType : uint8_t { tested, stat, boolean, index, i64, f32 };

// same: of input 0. second: of input 1. attr: what the dtype attribute says.
enum class ResultType : uint8_t { same, second, boolean, i64, f32, stat, attr };

// Which random values an input gets.
enum class Domain : uint8_t {
  real,       // -2 to 2
  positive,   // 0.2 to 3
  nonzero,    // -2 to 2, at least 0.2 from 0
  distinct,   // no two closer than 0.05, over all distinct inputs of the case
  unit,       // 0 to 1
  inner,      // -0.9 to 0.9
  above_one,  // 1.2 to 4
  cond,       // booleans
  key,        // two i64: a seed and a call number
  step,       // integers from 1
  labels,     // integers from 0 below `bound`
  ids,        // integers from 0 below `bound`
  lse         // log(sum(exp)) over the last axis of input `source`
};

enum class OpKind : uint8_t { pointwise, view, strided, dense };
enum class Gradient : uint8_t { yes, no, zero };

enum class Reference : uint8_t {
#define MILL_REFERENCE(name) name##_,
#include "conformance/cases.gen.inc"
#undef MILL_REFERENCE
  count
};

struct CaseInput {
  bool present;  // false: an optional input that this sample leaves out
  InputType type;
  Domain domain;
  int32_t source;
  int64_t bound;
  uint32_t rank;
  int64_t dims[MILL_MAX_RANK];
};

struct CaseOutput {
  const char* name;
  ResultType type;
};

struct CaseInplace {
  uint32_t output;
  uint32_t input;
};

struct CaseOp {
  int32_t number;
  const char* name;
  const char* family;
  OpKind kind;
  Gradient gradient;
  bool random;
  bool smooth;  // second derivatives are defined and checked
  bool list;    // the inputs are one list of any length
  double tolerance;
  uint32_t dtypes;  // bit d: T may be dtype d; 0 when the op has no input
  Reference reference;
  const CaseOutput* outputs;
  uint32_t n_outputs;
  const CaseInplace* inplace;
  uint32_t n_inplace;
};

struct Case {
  const CaseOp* op;
  uint32_t sample;   // counts from 0 in the op's row
  const char* text;  // as the row says it
  const CaseInput* inputs;
  uint32_t n_inputs;
  const mill_attr* attrs;  // all in the order of their ids, absent ones with their default
  uint32_t n_attrs;
  uint32_t given;  // bit k: the sample says attribute k; a call may leave out the others
};

#define MILL_CASE_ARRAYS
#include "conformance/cases.gen.inc"
#undef MILL_CASE_ARRAYS

inline constexpr Case cases[] = {
#define MILL_CASE(name, sample, text, inputs, n_inputs, attrs, n_attrs, given) \
  {&op_##name, sample, text, inputs, n_inputs, attrs, n_attrs, given},
#include "conformance/cases.gen.inc"
#undef MILL_CASE
};
inline constexpr uint32_t case_count = sizeof(cases) / sizeof(cases[0]);

}  // namespace mill_cases
