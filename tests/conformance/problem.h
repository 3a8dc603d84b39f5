// One case in one dtype and layout: inputs drawn from their domains, what the reference makes of
// them, and tensors that hold them in memory as the layout says.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "conformance/api.h"
#include "conformance/cases.h"
#include "conformance/numbers.h"

namespace mill_test {

// SplitMix64 (Steele, Lea and Flood, 2014).
class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed) {}
  uint64_t next() {
    state_ += 0x9E3779B97F4A7C15u;
    uint64_t z = state_;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
  }
  double unit() { return static_cast<double>(next() >> 11) * 0x1p-53; }
  double between(double low, double high) { return low + unit() * (high - low); }
  int64_t below(int64_t n) { return static_cast<int64_t>(next() % static_cast<uint64_t>(n)); }
  int64_t whole(int64_t low, int64_t high) { return low + below(high - low + 1); }

 private:
  uint64_t state_;
};

// MILL_TEST_SEED: a number, or "random". Without it the same seed in every run.
uint64_t run_seed();

// The case with larger sizes in place of its small ones, so that whole vectors and their tails are
// walked; null if its attributes depend on the sizes or nothing would change. Lives for ever.
const mill_cases::Case* enlarged(const mill_cases::Case& c);

enum class Layout : uint8_t {
  contiguous,
  transposed,  // the axes in memory in reverse order
  gaps,        // unused elements between all others
  offset,      // in the middle of a buffer, aligned to the element only
  broadcast,   // one axis with stride 0
  mixed        // a different one of these for each input
};
inline constexpr Layout kLayouts[] = {Layout::contiguous, Layout::transposed, Layout::gaps,
                                      Layout::offset,     Layout::broadcast,  Layout::mixed};
const char* layout_name(Layout layout);
// Whether some input of the case looks different in this layout than in a simpler one.
bool layout_applies(const mill_cases::Case& c, Layout layout);

// Elements in row-major order: f for the computing floats, i for everything else.
struct Host {
  mill_dtype dtype = MILL_DTYPE_NONE;
  Dims dims;
  std::vector<double> f;
  std::vector<int64_t> i;

  size_t size() const { return static_cast<size_t>(count_of(dims)); }
};

// A tensor inside a larger buffer whose other elements are known.
struct Placed {
  Tensor buffer;
  Tensor view;
  Dims strides;
  int64_t offset = 0;
  std::vector<unsigned char> bytes;  // of the buffer as it was made
};

struct Strided {
  Dims strides;
  int64_t offset;
  int64_t size;  // of the buffer
};
Strided strides_for(const Dims& dims, Layout layout, uint32_t sample);

struct Problem {
  const mill_cases::Case* c;
  mill_dtype dtype;
  Layout layout;
  uint64_t seed;
  std::vector<bool> present;
  std::vector<Host> inputs;
  std::vector<mill_attr> attrs;  // all, with what the dtype under test makes of them
  std::vector<mill_attr> given;  // those that differ from their default

  std::vector<Placed> place(World& w) const;
  Layout layout_of(size_t input) const;
  std::string text() const;
};

Problem make_problem(const mill_cases::Case& c, mill_dtype dtype, Layout layout, uint64_t seed);

// The dtypes that a case is tested in.
std::vector<mill_dtype> tested_dtypes(const mill_cases::Case& c);

struct Expected {
  bool present = false;
  mill_dtype dtype = MILL_DTYPE_NONE;
  Dims dims;
  std::vector<int64_t> i;          // of dtypes that are no computing float
  std::vector<long double> truth;  // of the others
  std::vector<double>
      exact;  // the one correct value of each, where the op's definition leaves only one
  // Error of the naive implementation, as the 2-norm and as the largest absolute value: the largest
  // of several draws of the same case, because over few elements one draw is sometimes exact by
  // chance.
  long double naive_norm = -1;
  long double naive_worst = -1;
};
std::vector<Expected> expected_of(const Problem& p);

// ---- memory -------------------------------------------------------------------------------------

void encode(mill_dtype dtype, const Host& host, size_t index, void* to);
Host decode(mill_dtype dtype, const Dims& dims, const unsigned char* row_major);
Host read_host(World& w, mill_tensor* tensor);
std::vector<unsigned char> read_bytes(World& w, mill_tensor* tensor);
// Puts a value into a buffer of `layout` whose other elements are poison (NaN where the dtype has
// one).
Placed place_host(World& w, const Host& host, Layout layout, uint32_t sample);
// A place for a result: NaN inside, a pattern outside.
Placed place_output(World& w, mill_dtype dtype, const Dims& dims, Layout layout);
// Which elements of the buffer lie outside the view and have changed: -1 for none.
int64_t first_touched(World& w, const Placed& placed, const Dims& dims, mill_dtype dtype);

// "" if the result passes, else what is wrong with it.
std::string judge(const mill_cases::CaseOp& op, const Expected& expected, mill_dtype dtype,
                  const Dims& dims, const Host& got);

}  // namespace mill_test
