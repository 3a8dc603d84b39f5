// Pointwise ops, casts, copies and joins of a GPU device against the CPU device, bit for bit where
// the op's row leaves one result: conversions, integers, comparisons, moved bytes. The device is
// MILL_TEST_DEVICE, by default the simulated one.
#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "conformance/api.h"

namespace mill_test {
namespace {

using Bytes = std::vector<unsigned char>;

constexpr mill_dtype kAll[] = {MILL_BOOL, MILL_U8,  MILL_I8,   MILL_U16,    MILL_I16,   MILL_U32,
                               MILL_I32,  MILL_U64, MILL_I64,  MILL_F16,    MILL_BF16,  MILL_F32,
                               MILL_F64,  MILL_C64, MILL_C128, MILL_F8E4M3, MILL_F8E5M2};
// Those that arithmetic takes.
constexpr mill_dtype kIntegers[] = {MILL_U8, MILL_I8, MILL_I16, MILL_I32, MILL_I64};

size_t size_of(mill_dtype dtype) {
  switch (dtype) {
    case MILL_BOOL:
    case MILL_U8:
    case MILL_I8:
    case MILL_F8E4M3:
    case MILL_F8E5M2: return 1;
    case MILL_U16:
    case MILL_I16:
    case MILL_F16:
    case MILL_BF16: return 2;
    case MILL_U32:
    case MILL_I32:
    case MILL_F32: return 4;
    case MILL_C128: return 16;
    default: return 8;
  }
}

template <class T>
T at(const unsigned char* p) {
  T value;
  std::memcpy(&value, p, sizeof value);
  return value;
}
template <class T>
void append(Bytes* to, T value) {
  const size_t old = to->size();
  to->resize(old + sizeof value);
  std::memcpy(to->data() + old, &value, sizeof value);
}

bool is_nan(mill_dtype dtype, const unsigned char* p) {
  switch (dtype) {
    case MILL_F8E4M3: return (*p & 0x7f) == 0x7f;
    case MILL_F8E5M2: return (*p & 0x7f) > 0x7c;
    case MILL_F16: return (at<uint16_t>(p) & 0x7fff) > 0x7c00;
    case MILL_BF16: return (at<uint16_t>(p) & 0x7fff) > 0x7f80;
    case MILL_F32: return std::isnan(at<float>(p));
    case MILL_F64: return std::isnan(at<double>(p));
    default: return false;
  }
}
bool same_element(mill_dtype dtype, const unsigned char* a, const unsigned char* b) {
  if (std::memcmp(a, b, size_of(dtype)) == 0) return true;
  if (dtype == MILL_C64)
    return same_element(MILL_F32, a, b) && same_element(MILL_F32, a + 4, b + 4);
  if (dtype == MILL_C128)
    return same_element(MILL_F64, a, b) && same_element(MILL_F64, a + 8, b + 8);
  return is_nan(dtype, a) && is_nan(dtype, b);
}

std::string hex(const unsigned char* p, size_t n) {
  std::string text = "0x";
  for (size_t i = n; i-- > 0;) {
    text += "0123456789abcdef"[p[i] >> 4];
    text += "0123456789abcdef"[p[i] & 15];
  }
  return text;
}

// ---- values -------------------------------------------------------------------------------------

// Where conversions go wrong: halfway between neighbours of every narrower format and just beside,
// bounds of integers, bounds of formats, subnormals, what is no number.
std::vector<double> hard_reals() {
  const double kInf = std::numeric_limits<double>::infinity();
  std::vector<double> values = {0.0,    -0.0,     kInf,     -kInf,    std::nan(""), -std::nan(""),
                                0.5,    -0.5,     1.5,      2.5,      448,          464,
                                480,    57344,    61439,    61440,    65504,        65519.99,
                                65520,  3.39e38,  3.4e38,   3.41e38,  1e300,        -1e300,
                                1e-300, 0x1p-149, 0x1p-150, 0x1p-151, 0x1p-24,      0x1p-25,
                                0x1p-9, 0x1p-10,  0x1p-16,  0x1p-17,  0x1p-133,     0x1p-134};
  for (int k = 0; k <= 65; ++k) {
    const double power = std::ldexp(1, k);
    for (const double v : {power, power - 0.5, power + 0.5, power - 1, std::nextafter(power, 0)}) {
      values.push_back(v);
      values.push_back(-v);
    }
  }
  std::mt19937_64 engine(7);
  for (const int mantissa : {2, 3, 7, 10, 23}) {
    for (int i = 0; i < 400; ++i) {
      const auto whole = static_cast<double>(engine() % (uint64_t{1} << mantissa));
      const double half = 1 + (whole + 0.5) * std::ldexp(1, -mantissa);
      const int exponent = static_cast<int>(engine() % 48) - 30;
      const double beside = static_cast<double>(engine() % 3) - 1;
      const double v = std::ldexp(half + beside * 0x1p-51, exponent);
      values.push_back(i % 2 == 0 ? v : -v);
    }
  }
  for (int i = 0; i < 500; ++i) values.push_back(std::bit_cast<double>(engine()));
  return values;
}

Bytes hard_values(mill_dtype dtype) {
  Bytes out;
  const size_t size = size_of(dtype);
  if (dtype == MILL_BOOL) return {0, 1, 1, 0, 1};
  if (size == 1) {
    for (int i = 0; i < 256; ++i) append(&out, static_cast<uint8_t>(i));
  } else if (size == 2) {
    for (int i = 0; i < 65536; ++i) append(&out, static_cast<uint16_t>(i));
  } else if (dtype == MILL_F32) {
    for (const double v : hard_reals()) append(&out, static_cast<float>(v));
  } else if (dtype == MILL_F64) {
    for (const double v : hard_reals()) append(&out, v);
  } else if (dtype == MILL_C64 || dtype == MILL_C128) {
    const std::vector<double> reals = hard_reals();
    for (size_t i = 0; i < reals.size(); ++i) {
      for (const double v : {reals[i], i % 3 == 0 ? 0.0 : reals[reals.size() - 1 - i]}) {
        if (dtype == MILL_C64) {
          append(&out, static_cast<float>(v));
        } else {
          append(&out, v);
        }
      }
    }
  } else {
    std::mt19937_64 engine(5);
    for (int i = 0; i < 3000; ++i) {
      // Of every width; every third has its low bits at a half of some narrower format.
      uint64_t v = engine() >> (engine() % 64);
      if (i % 3 == 0) {
        const uint64_t low = engine() % 60;
        v = ((v >> low) << low) | (low > 0 ? uint64_t{1} << (low - 1) : 0) | (i % 2 == 0 ? 1 : 0);
      }
      if (i % 5 == 0) v = ~v + 1;
      if (i < 130) v = (uint64_t{1} << (i / 2 % 64)) - static_cast<uint64_t>(i % 2);
      if (size == 4) {
        append(&out, static_cast<uint32_t>(v));
      } else {
        append(&out, v);
      }
    }
  }
  return out;
}

Bytes random_bytes(mill_dtype dtype, int64_t n, uint64_t seed) {
  std::mt19937_64 engine(seed);
  Bytes out(static_cast<size_t>(n) * size_of(dtype));
  for (auto& byte : out) byte = static_cast<unsigned char>(engine());
  if (dtype == MILL_BOOL) {
    for (auto& byte : out) byte &= 1;
  }
  return out;
}

// ---- the two devices ----------------------------------------------------------------------------

struct Shown {
  Dims dims;
  Dims strides;
  int64_t offset = 0;

  int64_t span() const {
    int64_t last = offset;
    for (size_t i = 0; i < dims.size(); ++i) last += (dims[i] - 1) * strides[i];
    return count_of(dims) == 0 ? 0 : last + 1;
  }
};

struct Operand {
  mill_dtype dtype;
  Bytes bytes;  // of the whole buffer
  Shown shown;
};

Operand operand(mill_dtype dtype, const Shown& shown, uint64_t seed) {
  return {dtype, random_bytes(dtype, shown.span(), seed), shown};
}

mill_attr whole(int32_t id, int64_t value) {
  return {id, MILL_ATTR_INT, value, 0, nullptr, 0};
}
mill_attr real(int32_t id, double value) {
  return {id, MILL_ATTR_FLOAT, 0, value, nullptr, 0};
}
mill_attr type(int32_t id, mill_dtype value) {
  return {id, MILL_ATTR_DTYPE, value, 0, nullptr, 0};
}
mill_attr list(int32_t id, const Dims& values) {
  return {id, MILL_ATTR_INTS, 0, 0, values.data(), values.size()};
}

class Pointwise : public testing::Test {
 protected:
  static World& cpu() {
    static const std::unique_ptr<World> kept = [] {
      const std::string device = std::exchange(test_device(), "cpu");
      auto made = std::make_unique<World>();
      test_device() = device;
      return made;
    }();
    return *kept;
  }
  static World& gpu() {
    if (test_device() == "cpu") test_device() = "sim";
    return world();
  }

  struct Result {
    mill_dtype dtype;
    Dims dims;
    Bytes bytes;
  };
  static Tensor place(World& w, const Operand& x) {
    const Dims flat = {static_cast<int64_t>(x.bytes.size() / size_of(x.dtype))};
    Tensor buffer;
    Tensor view;
    w.ok(mill_tensor_from_host(w.exec(), x.dtype, flat.data(), 1, x.bytes.data(), x.bytes.size(),
                               buffer.out(), w.error()));
    w.ok(mill_tensor_view(buffer.get(), x.shown.dims.data(), x.shown.strides.data(),
                          static_cast<uint32_t>(x.shown.dims.size()), x.shown.offset, view.out(),
                          w.error()));
    return view;
  }
  static Result run(World& w, int32_t op, const std::vector<Operand>& in,
                    const std::vector<mill_attr>& attrs) {
    std::vector<Tensor> held;
    std::vector<mill_tensor*> raw;
    for (const Operand& x : in) {
      held.push_back(place(w, x));
      raw.push_back(held.back().get());
    }
    const Tensor out = std::move(invoke(w, op, raw, attrs, 1)[0]);
    Result result{mill_tensor_dtype(out.get()), dims_of(out.get()), {}};
    result.bytes.resize(static_cast<size_t>(mill_tensor_count(out.get())) * size_of(result.dtype));
    w.ok(
        mill_tensor_read(w.exec(), out.get(), result.bytes.data(), result.bytes.size(), w.error()));
    return result;
  }
  static void agree(int32_t op, const std::vector<Operand>& in,
                    const std::vector<mill_attr>& attrs = {}) {
    const Result want = run(cpu(), op, in, attrs);
    const Result got = run(gpu(), op, in, attrs);
    ASSERT_EQ(got.dtype, want.dtype);
    ASSERT_EQ(got.dims, want.dims);
    const size_t size = size_of(want.dtype);
    for (size_t i = 0; i < want.bytes.size(); i += size) {
      ASSERT_TRUE(same_element(want.dtype, want.bytes.data() + i, got.bytes.data() + i))
          << "op " << op << " on dtype " << (in.empty() ? 0 : in[0].dtype) << ", element "
          << i / size << " of " << text_of(want.dims) << " is " << hex(got.bytes.data() + i, size)
          << ", must be " << hex(want.bytes.data() + i, size);
    }
  }
};

// Two operands that broadcast: what the paths of units, splats and single elements see.
struct Pair {
  const char* name;
  Shown a;
  Shown b;
};
std::vector<Pair> pairs() {
  return {
      {"one", {{1}, {1}}, {{1}, {1}}},
      {"same", {{5, 33}, {33, 1}}, {{5, 33}, {33, 1}}},
      {"aligned", {{8, 64}, {64, 1}}, {{8, 64}, {64, 1}}},
      {"beside", {{163}, {1}, 1}, {{163}, {1}, 2}},
      {"scalar b", {{6, 64}, {64, 1}}, {{}, {}}},
      {"scalar a", {{}, {}}, {{67}, {1}}},
      {"row", {{7, 48}, {48, 1}}, {{48}, {1}}},
      {"odd row", {{7, 45}, {45, 1}}, {{45}, {1}}},
      {"column", {{7, 48}, {48, 1}}, {{7, 1}, {1, 1}}},
      {"both", {{9, 1, 32}, {32, 32, 1}}, {{5, 1}, {1, 1}}},
      {"padded rows", {{6, 32}, {48, 1}}, {{6, 32}, {64, 1}, 16}},
      {"transposed", {{19, 23}, {1, 19}}, {{19, 23}, {23, 1}}},
      {"every second", {{41}, {2}}, {{41}, {1}}},
      {"permuted", {{4, 5, 7}, {1, 28, 4}}, {{5, 1}, {1, 1}}},
      {"long and odd", {{131087}, {1}}, {{131087}, {1}}},
      {"long, scalar", {{131087}, {1}}, {{1}, {1}}},
  };
}

TEST_F(Pointwise, EveryCastEqualsTheCpus) {
  for (const mill_dtype from : kAll) {
    const Bytes values = hard_values(from);
    const auto n = static_cast<int64_t>(values.size() / size_of(from));
    for (const mill_dtype to : kAll) {
      SCOPED_TRACE("from dtype " + std::to_string(from) + " to " + std::to_string(to));
      const std::vector<Shown> views = {
          {{n}, {1}},           {{n - 1}, {1}, 1}, {{(n + 1) / 2}, {2}}, {{n / 5, 5}, {1, n / 5}},
          {{n / 5, 3}, {5, 1}}, {{n, 3}, {1, 0}},  {{3, n}, {0, 1}}};
      for (const Shown& view : views) {
        agree(MILL_OP_CAST, {{from, values, view}}, {type(0, to)});
        if (HasFatalFailure()) return;
        if (size_of(from) == 2 && &view == &views[2]) break;
      }
    }
  }
}

TEST_F(Pointwise, LongCastsEqualTheCpus) {
  for (const auto& [from, to] : {std::pair{MILL_F32, MILL_BF16}, std::pair{MILL_BF16, MILL_F32},
                                 std::pair{MILL_F32, MILL_F16}, std::pair{MILL_F16, MILL_F32},
                                 std::pair{MILL_U8, MILL_F32}, std::pair{MILL_I64, MILL_I32}}) {
    agree(MILL_OP_CAST, {operand(from, {{131087}, {1}}, 3)}, {type(0, to)});
    agree(MILL_OP_CAST, {operand(from, {{1003}, {1}, 1}, 4)}, {type(0, to)});
  }
}

TEST_F(Pointwise, IntegerArithmeticEqualsTheCpus) {
  for (const mill_dtype dtype : kIntegers) {
    for (const Pair& pair : pairs()) {
      SCOPED_TRACE(pair.name);
      const Operand a = operand(dtype, pair.a, 11);
      Operand b = operand(dtype, pair.b, 12);
      for (const int32_t op :
           {MILL_OP_ADD, MILL_OP_SUB, MILL_OP_MUL, MILL_OP_MAXIMUM, MILL_OP_MINIMUM}) {
        agree(op, {a, b});
      }
      // No zeros for the division, and some -1.
      for (size_t i = 0; i < b.bytes.size(); i += size_of(dtype)) {
        b.bytes[i] |= 1;
        if (i % 7 == 0) std::memset(b.bytes.data() + i, 0xff, size_of(dtype));
      }
      agree(MILL_OP_DIV, {a, b});
      for (const int32_t op : {MILL_OP_NEG, MILL_OP_ABS, MILL_OP_SIGN, MILL_OP_RELU})
        agree(op, {a});
      if (HasFatalFailure()) return;
    }
    Operand least = operand(dtype, {{9}, {1}}, 1);
    std::memset(least.bytes.data(), 0, least.bytes.size());
    for (size_t i = 1; i <= 9; ++i) least.bytes[i * size_of(dtype) - 1] = 0x80;
    Operand minus = least;
    std::memset(minus.bytes.data(), 0xff, minus.bytes.size());
    agree(MILL_OP_DIV, {least, minus});
    agree(MILL_OP_ABS, {least});
  }
}

TEST_F(Pointwise, FloatArithmeticOfOneRoundingEqualsTheCpus) {
  for (const mill_dtype dtype : {MILL_F16, MILL_BF16, MILL_F32, MILL_F64}) {
    for (const Pair& pair : pairs()) {
      SCOPED_TRACE(pair.name);
      for (const int32_t op : {MILL_OP_ADD, MILL_OP_SUB, MILL_OP_MUL, MILL_OP_DIV})
        agree(op, {operand(dtype, pair.a, 21), operand(dtype, pair.b, 22)});
      for (const int32_t op : {MILL_OP_NEG, MILL_OP_ABS, MILL_OP_SQRT, MILL_OP_RELU})
        agree(op, {operand(dtype, pair.a, 23)});
      if (HasFatalFailure()) return;
    }
  }
}

TEST_F(Pointwise, ComparisonsEqualTheCpus) {
  for (const mill_dtype dtype : kAll) {
    const bool ordered = dtype != MILL_C64 && dtype != MILL_C128;
    for (const Pair& pair : pairs()) {
      SCOPED_TRACE(pair.name);
      const Operand a = operand(dtype, pair.a, 31);
      Operand b = operand(dtype, pair.b, 32);
      // Random bits are hardly ever equal.
      for (size_t i = 0; i < b.bytes.size() && i < a.bytes.size(); i += 3 * size_of(dtype))
        std::memcpy(b.bytes.data() + i, a.bytes.data() + i, size_of(dtype));
      for (int64_t relation = 0; relation < (ordered ? 6 : 2); ++relation)
        agree(MILL_OP_COMPARE, {a, b}, {whole(0, relation)});
      if (HasFatalFailure()) return;
    }
  }
}

TEST_F(Pointwise, WhereMovesElementsOfEverySize) {
  for (const mill_dtype dtype : {MILL_U8, MILL_BF16, MILL_F32, MILL_I64, MILL_C128}) {
    for (const Pair& pair : pairs()) {
      SCOPED_TRACE(pair.name);
      agree(MILL_OP_WHERE, {operand(MILL_BOOL, pair.a, 41), operand(dtype, pair.a, 42),
                            operand(dtype, pair.b, 43)});
      agree(MILL_OP_WHERE, {operand(MILL_BOOL, pair.b, 44), operand(dtype, pair.a, 45),
                            operand(dtype, pair.a, 46)});
      if (HasFatalFailure()) return;
    }
  }
}

std::vector<Shown> views() {
  return {
      {{}, {}},
      {{1003}, {1}},
      {{131087}, {1}},
      {{64, 64}, {64, 1}},
      {{9, 32}, {48, 1}},
      {{9, 33}, {48, 1}, 1},
      {{33, 65}, {1, 33}},
      {{64, 32}, {1, 64}, 1},
      {{16, 16}, {1, 40}},
      {{15, 70}, {1, 15}},
      {{3, 40, 50}, {2000, 1, 40}},
      {{40, 3, 50}, {1, 2000, 40}},
      {{2, 3, 4, 5, 6}, {360, 30, 1, 6, 60}},
      {{7, 1, 48}, {0, 0, 1}},
      {{7, 48}, {1, 0}},
      {{29}, {3}},
      {{0, 3}, {3, 1}},
  };
}

TEST_F(Pointwise, CopiesMoveElementsOfEverySize) {
  for (const mill_dtype dtype : {MILL_I8, MILL_F16, MILL_U32, MILL_C64, MILL_C128}) {
    for (const Shown& view : views()) {
      SCOPED_TRACE(text_of(view.dims) + " strides " + text_of(view.strides));
      const Operand x = operand(dtype, view, 51);
      agree(MILL_OP_COPY, {x});
      agree(MILL_OP_CONTIGUOUS, {x});
      if (HasFatalFailure()) return;
    }
  }
}

TEST_F(Pointwise, ConcatJoinsAlongEveryAxis) {
  for (const mill_dtype dtype : {MILL_BOOL, MILL_BF16, MILL_F32, MILL_F64, MILL_C128}) {
    for (int64_t axis = -3; axis < 3; ++axis) {
      const auto along = static_cast<size_t>(axis < 0 ? axis + 3 : axis);
      std::vector<Operand> in;
      for (const int64_t n : {16, 1, 0, 5}) {
        Dims dims = {3, 20, 4};
        dims[along] = n;
        const Dims rows = {dims[1] * dims[2], dims[2], 1};
        const Dims columns = {1, dims[0], dims[0] * dims[1]};
        in.push_back(operand(dtype, {dims, n == 5 ? columns : rows}, static_cast<uint64_t>(n)));
      }
      agree(MILL_OP_CONCAT, in, {whole(0, axis)});
      if (HasFatalFailure()) return;
    }
  }
}

TEST_F(Pointwise, SliceBackwardZeroesWhatTheGradientDoesNotCover) {
  const Dims dims = {5, 24, 7};
  for (const mill_dtype dtype : {MILL_BF16, MILL_F32, MILL_F64}) {
    for (int64_t axis = 0; axis < 3; ++axis) {
      const int64_t size = dims[static_cast<size_t>(axis)];
      for (const int64_t step : {1, 2, 3}) {
        for (const int64_t start : {int64_t{0}, int64_t{1}, size - 1}) {
          for (const int64_t count : {int64_t{0}, int64_t{1}, (size - 1 - start) / step + 1}) {
            Dims part = dims;
            part[static_cast<size_t>(axis)] = count;
            const Operand g = operand(dtype, {part, {part[1] * part[2], part[2], 1}}, 61);
            agree(MILL_OP_SLICE_BACKWARD, {g},
                  {list(0, dims), whole(1, axis), whole(2, start), whole(3, step)});
            if (HasFatalFailure()) return;
          }
        }
      }
    }
  }
}

TEST_F(Pointwise, FillConvertsOneValue) {
  for (const mill_dtype dtype : kAll) {
    for (const double value :
         {0.0, 1.0, -1.0, 1.5, 300.0, -40000.0, 70000.0, 0x1p63, 1e40, -1e40}) {
      for (const Dims& dims : {Dims{}, Dims{37}, Dims{131075}, Dims{4, 16}}) {
        agree(MILL_OP_FILL, {}, {list(0, dims), type(1, dtype), real(2, value)});
        if (HasFatalFailure()) return;
      }
    }
  }
}

TEST_F(Pointwise, ArangeRoundsOnce) {
  for (const mill_dtype dtype : kAll) {
    agree(MILL_OP_ARANGE, {}, {whole(0, 1001), real(1, -3.3), real(2, 0.1), type(3, dtype)});
    agree(MILL_OP_ARANGE, {}, {whole(0, 40), real(1, 1e9), real(2, 1e8 / 3), type(3, dtype)});
  }
}

TEST_F(Pointwise, IntegerDivisionByZeroIsFoundWhereverItIs) {
  World& w = gpu();
  for (const mill_dtype dtype : kIntegers) {
    for (const int64_t at_element : {0, 77, 499}) {
      Operand a = operand(dtype, {{500}, {1}}, 71);
      Operand b = a;
      std::memset(b.bytes.data(), 1, b.bytes.size());
      std::memset(b.bytes.data() + static_cast<size_t>(at_element) * size_of(dtype), 0,
                  size_of(dtype));
      const Tensor x = place(w, a);
      const Tensor y = place(w, b);
      mill_tensor* raw[] = {x.get(), y.get()};
      mill_tensor* out = nullptr;
      mill_status status =
          mill_op_invoke(w.exec(), MILL_OP_DIV, raw, 2, nullptr, 0, &out, 1, w.error());
      const Tensor owned(out);
      Bytes bytes(a.bytes.size());
      if (status == MILL_OK)
        status = mill_tensor_read(w.exec(), out, bytes.data(), bytes.size(), w.error());
      EXPECT_LT(status, 0);
      EXPECT_NE(w.message().find("element " + std::to_string(at_element)), std::string::npos)
          << w.message();
    }
  }
}

}  // namespace
}  // namespace mill_test
