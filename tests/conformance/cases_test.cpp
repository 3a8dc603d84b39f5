// Every op, on every sample of its row, in every dtype it takes, in every memory layout: against
// the reference, by the rule of architecture section 10, through every way of calling it.
#include <gtest/gtest.h>

#include <cstring>
#include <tuple>

#include "conformance/problem.h"

namespace mill_test {
namespace {

using mill_cases::Case;
using mill_cases::OpKind;

struct Point {
  const Case* c;
  mill_dtype dtype;
  Layout layout;
  bool large;
};

void PrintTo(const Point& point, std::ostream* os) {
  *os << point.c->op->name << " \"" << point.c->text << "\" " << dtype_text(point.dtype) << " "
      << layout_name(point.layout);
}

void add_points(const Case& c, bool large, std::vector<Point>& points) {
  for (const mill_dtype dtype : tested_dtypes(c)) {
    for (const Layout layout : kLayouts) {
      // All layouts in the common dtypes, which show how memory is walked; some in the others.
      const bool common = is_float(dtype) || dtype == MILL_I32 || dtype == MILL_I64;
      const bool telling =
          layout == Layout::contiguous || layout == Layout::mixed || layout == Layout::transposed;
      if (layout_applies(c, layout) && (common || telling) && (!large || telling)) {
        points.push_back({&c, dtype, layout, large});
      }
    }
  }
}

std::vector<Point> all_points() {
  std::vector<Point> points;
  for (const Case& c : mill_cases::cases) {
    if (!op_wanted(c.op->name)) continue;
    add_points(c, false, points);
    if (const Case* large = enlarged(c)) add_points(*large, true, points);
  }
  return points;
}

std::string point_name(const testing::TestParamInfo<Point>& info) {
  const Point& p = info.param;
  return std::string(p.c->op->name) + "_" + std::to_string(p.c->sample) + "_" +
         dtype_text(p.dtype) + "_" + layout_name(p.layout) + (p.large ? "_large" : "");
}

std::vector<mill_tensor*> raw(const std::vector<Placed>& placed) {
  std::vector<mill_tensor*> out;
  for (const Placed& p : placed) out.push_back(p.view.get());
  return out;
}

using Bytes = std::vector<unsigned char>;

class Conformance : public testing::TestWithParam<Point> {
 protected:
  void SetUp() override {
    p_ = make_problem(*GetParam().c, GetParam().dtype, GetParam().layout, run_seed());
    placed_ = p_.place(w_);
    in_ = raw(placed_);
    n_out_ = p_.c->op->n_outputs;
  }

  mill_status invoke_into(std::vector<mill_tensor*>& out, const std::vector<mill_tensor*>& in,
                          const std::vector<mill_attr>& attrs) {
    return mill_op_invoke(w_.exec(), p_.c->op->number, in.data(), static_cast<uint32_t>(in.size()),
                          attrs.data(), static_cast<uint32_t>(attrs.size()), out.data(), n_out_,
                          w_.error());
  }

  std::vector<Tensor> run(const std::vector<mill_attr>& attrs) {
    std::vector<mill_tensor*> out(n_out_, nullptr);
    w_.ok(invoke_into(out, in_, attrs));
    std::vector<Tensor> owned;
    for (mill_tensor* tensor : out) owned.emplace_back(tensor);
    return owned;
  }

  bool ordered_complex() const {
    return p_.c->op->number == MILL_OP_COMPARE && is_complex(p_.dtype) &&
           p_.attrs[0].i > MILL_COMPARE_NE;
  }

  void expect_inputs_untouched() {
    for (size_t k = 0; k < placed_.size(); ++k) {
      if (!p_.present[k]) continue;
      EXPECT_EQ(read_bytes(w_, placed_[k].buffer.get()), placed_[k].bytes) << "input " << k;
    }
  }

  void check_given(Layout layout, const std::vector<Expected>& expected,
                   const std::vector<Bytes>& bits);
  void check_inplace(const std::vector<Expected>& expected, const std::vector<Bytes>& bits);
  void check_alias(const std::vector<Expected>& expected);
  void check_view(mill_tensor* out);

  World& w_ = world();
  Problem p_;
  std::vector<Placed> placed_;
  std::vector<mill_tensor*> in_;
  uint32_t n_out_ = 0;
};

// Outputs of the caller's: NaN inside, a pattern around and between.
void Conformance::check_given(Layout layout, const std::vector<Expected>& expected,
                              const std::vector<Bytes>& bits) {
  std::vector<Placed> places(n_out_);
  std::vector<mill_tensor*> out(n_out_, nullptr);
  for (uint32_t k = 0; k < n_out_; ++k) {
    if (!expected[k].present) continue;
    places[k] = place_output(w_, expected[k].dtype, expected[k].dims, layout);
    out[k] = places[k].view.get();
  }
  const std::vector<mill_tensor*> before = out;
  const mill_status status = invoke_into(out, in_, p_.given);
  EXPECT_EQ(out, before);
  if (p_.c->op->kind == OpKind::view) {
    EXPECT_EQ(status, MILL_E_ARG);
    for (uint32_t k = 0; k < n_out_; ++k)
      EXPECT_EQ(read_bytes(w_, places[k].buffer.get()), places[k].bytes);
    return;
  }
  ASSERT_EQ(status, MILL_OK) << w_.message();
  for (uint32_t k = 0; k < n_out_; ++k) {
    if (!out[k]) continue;
    EXPECT_EQ(first_touched(w_, places[k], expected[k].dims, expected[k].dtype), -1)
        << "output " << k << " wrote outside its elements";
    EXPECT_EQ(judge(*p_.c->op, expected[k], mill_tensor_dtype(out[k]), dims_of(out[k]),
                    read_host(w_, out[k])),
              "")
        << "output " << k;
    if (layout != Layout::contiguous) continue;
    EXPECT_EQ(read_bytes(w_, out[k]), bits[k]) << "output " << k;
  }
}

// Every pair that the row allows gives the same bits as without sharing; every other one is
// refused.
void Conformance::check_inplace(const std::vector<Expected>& expected,
                                const std::vector<Bytes>& bits) {
  for (uint32_t o = 0; o < n_out_; ++o) {
    for (uint32_t k = 0; k < in_.size(); ++k) {
      if (!expected[o].present || !p_.present[k]) continue;
      const Host& input = p_.inputs[k];
      if (input.dtype != expected[o].dtype || input.dims != expected[o].dims || input.size() == 0)
        continue;
      if (p_.layout_of(k) == Layout::broadcast) continue;
      bool allowed = false;
      for (uint32_t j = 0; j < p_.c->op->n_inplace; ++j) {
        allowed = allowed || (p_.c->op->inplace[j].output == o && p_.c->op->inplace[j].input == k);
      }
      const Placed fresh = place_host(w_, input, p_.layout_of(k), p_.c->sample);
      std::vector<mill_tensor*> in = in_;
      in[k] = fresh.view.get();
      std::vector<mill_tensor*> out(n_out_, nullptr);
      out[o] = fresh.view.get();
      const mill_status status = invoke_into(out, in, p_.given);
      for (uint32_t j = 0; j < n_out_; ++j) {
        if (j != o) mill_tensor_release(out[j]);
      }
      SCOPED_TRACE("output " + std::to_string(o) + " is input " + std::to_string(k));
      if (p_.c->op->kind == OpKind::view) {
        EXPECT_EQ(status, MILL_E_ARG);
      } else if (!allowed) {
        EXPECT_EQ(status, MILL_E_ALIAS);
        EXPECT_EQ(mill_error_argument(w_.error()), static_cast<int32_t>(k));
        EXPECT_EQ(read_bytes(w_, fresh.buffer.get()), fresh.bytes);
      } else {
        ASSERT_EQ(status, MILL_OK) << w_.message();
        EXPECT_EQ(read_bytes(w_, fresh.view.get()), bits[o]);
        EXPECT_EQ(first_touched(w_, fresh, input.dims, input.dtype), -1);
      }
    }
  }
}

// An output that shares only a part of an input's memory is refused, and nothing is written.
void Conformance::check_alias(const std::vector<Expected>& expected) {
  if (p_.c->op->kind == OpKind::view) return;
  for (uint32_t k = 0; k < in_.size(); ++k) {
    if (!p_.present[k] || p_.inputs[k].size() == 0 || !expected[0].present) continue;
    const Host& input = p_.inputs[k];
    const int64_t n = count_of(expected[0].dims);
    if (input.dtype != expected[0].dtype || n == 0) continue;
    const int64_t input_size = static_cast<int64_t>(input.size());
    const int64_t elements = input_size + n;
    Tensor buffer;
    std::vector<unsigned char> bytes(static_cast<size_t>(elements) * dtype_bytes(input.dtype), 0);
    for (size_t i = 0; i < input.size(); ++i)
      encode(input.dtype, input, i, bytes.data() + i * dtype_bytes(input.dtype));
    w_.ok(mill_tensor_from_host(w_.exec(), input.dtype, &elements, 1, bytes.data(), bytes.size(),
                                buffer.out(), w_.error()));
    const auto view = [&](const Dims& dims, int64_t offset) {
      const Strided s = strides_for(dims, Layout::contiguous, 0);
      Tensor out;
      w_.ok(mill_tensor_view(buffer.get(), dims.data(), s.strides.data(),
                             static_cast<uint32_t>(dims.size()), offset, out.out(), w_.error()));
      return out;
    };
    const Tensor shared_in = view(input.dims, 0);
    const Tensor shared_out = view(expected[0].dims, input_size - 1);
    // Of one element both are the same place, which may be allowed.
    if (input_size == 1 && n == 1) continue;
    std::vector<mill_tensor*> in = in_;
    in[k] = shared_in.get();
    std::vector<mill_tensor*> out(n_out_, nullptr);
    out[0] = shared_out.get();
    EXPECT_EQ(invoke_into(out, in, p_.given), MILL_E_ALIAS) << "input " << k;
    for (uint32_t j = 1; j < n_out_; ++j) EXPECT_EQ(out[j], nullptr);
    EXPECT_EQ(read_bytes(w_, buffer.get()), bytes);
  }
}

void Conformance::check_view(mill_tensor* out) {
  const int32_t number = p_.c->op->number;
  // A reshape may copy; the other three are always views, a reshape of dense memory too.
  if (number == MILL_OP_RESHAPE && p_.layout != Layout::contiguous && p_.layout != Layout::offset)
    return;
  void* data = nullptr;
  void* base = nullptr;
  w_.ok(mill_tensor_data(out, 0, &data, w_.error()));
  w_.ok(mill_tensor_data(placed_[0].buffer.get(), 0, &base, w_.error()));
  if (mill_tensor_count(out) == 0) return;
  EXPECT_GE(data, base);
  EXPECT_LT(data, static_cast<char*>(base) + placed_[0].bytes.size());
}

TEST_P(Conformance, MatchesReference) {
  SCOPED_TRACE(p_.text());
  if (ordered_complex()) {
    std::vector<mill_tensor*> out(n_out_, nullptr);
    EXPECT_EQ(invoke_into(out, in_, p_.given), MILL_E_ARG);
    EXPECT_EQ(out[0], nullptr);
    return;
  }
  const std::vector<Expected> expected = expected_of(p_);
  const std::vector<Tensor> out = run(p_.given);
  std::vector<Bytes> bits;
  for (uint32_t k = 0; k < n_out_; ++k) {
    bits.emplace_back();
    ASSERT_EQ(static_cast<bool>(out[k]), expected[k].present) << "output " << k;
    if (!out[k]) continue;
    bits.back() = read_bytes(w_, out[k].get());
    ASSERT_EQ(judge(*p_.c->op, expected[k], mill_tensor_dtype(out[k].get()), dims_of(out[k].get()),
                    read_host(w_, out[k].get())),
              "")
        << "output " << k;
  }
  if (p_.c->op->kind == OpKind::view) check_view(out[0].get());

  // With every attribute spelled out, and once more: the same bits.
  const std::vector<Tensor> again = run(p_.attrs);
  for (uint32_t k = 0; k < n_out_; ++k) {
    if (!again[k]) continue;
    EXPECT_EQ(read_bytes(w_, again[k].get()), bits[k]) << "all attributes given, output " << k;
  }

  PreparedCall call;
  w_.ok(mill_op_prepare(w_.exec(), p_.c->op->number, in_.data(), static_cast<uint32_t>(in_.size()),
                        p_.given.data(), static_cast<uint32_t>(p_.given.size()), call.out(),
                        w_.error()));
  for (int round = 0; round < 2; ++round) {
    std::vector<mill_tensor*> prepared(n_out_, nullptr);
    w_.ok(mill_call_run(call.get(), w_.exec(), in_.data(), static_cast<uint32_t>(in_.size()),
                        prepared.data(), n_out_, w_.error()));
    for (uint32_t k = 0; k < n_out_; ++k) {
      const Tensor owned(prepared[k]);
      ASSERT_EQ(static_cast<bool>(owned), expected[k].present);
      if (!owned) continue;
      EXPECT_EQ(dims_of(owned.get()), expected[k].dims);
      EXPECT_EQ(read_bytes(w_, owned.get()), bits[k]) << "prepared, output " << k;
    }
  }

  check_given(Layout::contiguous, expected, bits);
  check_given(Layout::gaps, expected, bits);
  check_given(Layout::transposed, expected, bits);
  check_inplace(expected, bits);
  check_alias(expected);
  expect_inputs_untouched();
}

INSTANTIATE_TEST_SUITE_P(Ops, Conformance, testing::ValuesIn(all_points()), point_name);

TEST(ConformanceAlias, OutputsThatOverlapEachOtherAreRefused) {
  World& w = world();
  const Tensor x = make<float>(w, {2, 3}, {1, 2, 3, 4, 5, 6});
  const Tensor both = make<float>(w, {3}, {7, 8, 9});
  const int64_t dims[] = {2};
  const int64_t strides[] = {1};
  Tensor mean, rstd;
  w.ok(mill_tensor_view(both.get(), dims, strides, 1, 0, mean.out(), w.error()));
  w.ok(mill_tensor_view(both.get(), dims, strides, 1, 1, rstd.out(), w.error()));
  mill_tensor* out[] = {nullptr, mean.get(), rstd.get()};
  EXPECT_EQ(mill_layer_norm(w.exec(), x.get(), nullptr, nullptr, 1, 1e-5, &out[0], &out[1], &out[2],
                            w.error()),
            MILL_E_ALIAS);
  EXPECT_EQ(out[0], nullptr);
  EXPECT_EQ(values_of<float>(w, both.get()), (std::vector<float>{7, 8, 9}));
}

TEST(ConformanceAlias, AnOutputWhoseElementsOverlapIsRefused) {
  World& w = world();
  const Tensor x = make<float>(w, {3}, {1, 2, 3});
  const Tensor memory = make<float>(w, {3}, {7, 8, 9});
  const int64_t dims[] = {3};
  const int64_t strides[] = {0};
  Tensor view;
  w.ok(mill_tensor_view(memory.get(), dims, strides, 1, 0, view.out(), w.error()));
  mill_tensor* out = view.get();
  EXPECT_EQ(mill_neg(w.exec(), x.get(), &out, w.error()), MILL_E_ALIAS);
  EXPECT_EQ(values_of<float>(w, memory.get()), (std::vector<float>{7, 8, 9}));
}

TEST(ConformanceTable, LibraryHasEveryOpOfTheTable) {
  World& w = world();
  uint32_t count = 0;
  w.ok(mill_op_list(w.context(), nullptr, 0, &count, w.error()));
  std::vector<int32_t> numbers(count);
  w.ok(mill_op_list(w.context(), numbers.data(), count, &count, w.error()));
  std::vector<int32_t> want;
  for (const Case& c : mill_cases::cases) {
    if (want.empty() || want.back() != c.op->number) want.push_back(c.op->number);
  }
  EXPECT_EQ(numbers, want);
}

TEST(ConformanceTable, EveryDtypeOfTheRowIsSupported) {
  World& w = world();
  for (const Case& c : mill_cases::cases) {
    if (c.sample != 0 || c.op->kind == OpKind::view) continue;
    for (mill_dtype d = MILL_BOOL; d < MILL_DTYPE_COUNT; ++d) {
      if (c.op->dtypes != 0 && ((c.op->dtypes >> d) & 1u) == 0) continue;
      EXPECT_EQ(mill_op_supports(w.context(), w.device(), c.op->number, d, w.error()), MILL_OK)
          << c.op->name << " " << dtype_text(d) << ": " << w.message();
    }
  }
}

TEST(ConformanceTable, SchemaAgreesWithTheCases) {
  World& w = world();
  for (const Case& c : mill_cases::cases) {
    if (c.sample != 0) continue;
    mill_op_schema schema{};
    schema.size = sizeof schema;
    schema.type = MILL_STRUCT_OP_SCHEMA;
    w.ok(mill_op_query(w.context(), c.op->number, &schema, w.error()));
    EXPECT_STREQ(schema.name, c.op->name);
    EXPECT_STREQ(schema.family, c.op->family);
    EXPECT_EQ(schema.n_outputs, c.op->n_outputs);
    EXPECT_EQ(schema.n_attrs, c.n_attrs);
    EXPECT_EQ((schema.flags & MILL_OP_GRADIENT) != 0, c.op->gradient == mill_cases::Gradient::yes)
        << c.op->name;
    EXPECT_EQ((schema.flags & MILL_OP_RANDOM) != 0, c.op->random);
    int32_t found = 0;
    w.ok(mill_op_find(w.context(), c.op->name, &found, w.error()));
    EXPECT_EQ(found, c.op->number);
    for (uint32_t k = 0; k < c.n_attrs; ++k) {
      mill_attr_schema attr{};
      attr.size = sizeof attr;
      attr.type = MILL_STRUCT_ATTR_SCHEMA;
      w.ok(mill_op_query_attr(w.context(), c.op->number, k, &attr, w.error()));
      EXPECT_EQ(attr.kind, c.attrs[k].kind) << c.op->name << " " << attr.name;
      if (((c.given >> k) & 1u) == 0) {
        EXPECT_FALSE(attr.required) << c.op->name << " " << attr.name;
        EXPECT_EQ(attr.value.i, c.attrs[k].i) << c.op->name << " " << attr.name;
        EXPECT_EQ(attr.value.f, c.attrs[k].f) << c.op->name << " " << attr.name;
      }
    }
  }
}

}  // namespace
}  // namespace mill_test
