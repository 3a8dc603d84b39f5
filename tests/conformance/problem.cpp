#include "conformance/problem.h"

#include <algorithm>
#include <cstdlib>
#include <deque>
#include <numeric>
#include <random>

namespace mill_test {

namespace {

using mill_cases::Case;
using mill_cases::CaseInput;
using mill_cases::Domain;
using mill_cases::InputType;
using mill_cases::OpKind;
using mill_cases::ResultType;

constexpr mill_dtype kIndexDtypes[] = {MILL_I64, MILL_I32, MILL_U8, MILL_I16, MILL_I8};

Dims case_dims(const CaseInput& in) {
  return Dims(in.dims, in.dims + in.rank);
}

// The axis that the broadcast layout repeats; -1 if all are of size 1 or 0.
int32_t broadcast_axis(const Dims& dims, uint32_t sample) {
  int32_t first = -1;
  int32_t last = -1;
  for (int32_t i = 0; i < static_cast<int32_t>(dims.size()); ++i) {
    if (dims[static_cast<size_t>(i)] < 2) continue;
    if (first < 0) first = i;
    last = i;
  }
  return sample % 2 == 0 ? first : last;
}

mill_dtype input_dtype(const Case& c, size_t k, mill_dtype tested, Layout layout) {
  switch (c.inputs[k].type) {
    case InputType::tested: return tested;
    case InputType::stat: return tested == MILL_F64 ? MILL_F64 : MILL_F32;
    case InputType::boolean: return MILL_BOOL;
    case InputType::i64: return MILL_I64;
    case InputType::f32: return MILL_F32;
    case InputType::index: break;
  }
  return kIndexDtypes[(c.sample + static_cast<uint32_t>(layout) + static_cast<uint32_t>(tested)) %
                      std::size(kIndexDtypes)];
}

int64_t whole_value(Domain domain, mill_dtype dtype, Random& random) {
  if (dtype == MILL_BOOL) return random.below(2);
  const bool narrow = is_f8(dtype) || is_complex(dtype);
  // Beyond the range of sums and products of 8 bits, so that wrapping shows.
  const int64_t top = narrow ? 8 : 100;
  const int64_t low = is_unsigned(dtype) ? 0 : -top;
  switch (domain) {
    case Domain::positive: return random.whole(1, top);
    case Domain::nonzero: {
      const int64_t value = random.whole(low, top);
      return value == 0 ? 3 : value;
    }
    case Domain::unit:
    case Domain::cond: return random.below(2);
    default: return random.whole(low, top);
  }
}

double real_value(Domain domain, Random& random) {
  switch (domain) {
    case Domain::positive: return random.between(0.2, 3);
    case Domain::unit: return random.unit();
    case Domain::inner: return random.between(-0.9, 0.9);
    case Domain::above_one: return random.between(1.2, 4);
    case Domain::nonzero: {
      const double value = random.between(0.2, 2);
      return random.below(2) == 0 ? value : -value;
    }
    default: return random.between(-2, 2);
  }
}

// Places in a shuffled grid: no two values of the case are close.
class Distinct {
 public:
  Distinct(const Case& c, Random& random) {
    size_t n = 0;
    for (uint32_t k = 0; k < c.n_inputs; ++k) {
      if (c.inputs[k].present && c.inputs[k].domain == Domain::distinct)
        n += static_cast<size_t>(count_of(case_dims(c.inputs[k])));
    }
    order_.resize(n);
    std::iota(order_.begin(), order_.end(), int64_t{0});
    for (size_t i = n; i > 1; --i)
      std::swap(order_[i - 1], order_[static_cast<size_t>(random.below(static_cast<int64_t>(i)))]);
  }
  double real() { return 0.0625 * static_cast<double>(next()) - 1.9375; }
  int64_t whole(mill_dtype dtype) { return next() - (is_unsigned(dtype) ? 0 : 25); }

 private:
  int64_t next() { return order_[used_++]; }
  std::vector<int64_t> order_;
  size_t used_ = 0;
};

void repeat_axis(Host& host, int32_t axis) {
  Dims strides(host.dims.size());
  int64_t step = 1;
  for (size_t i = host.dims.size(); i-- > 0;) {
    strides[i] = step;
    step *= host.dims[i];
  }
  const auto k = static_cast<size_t>(axis);
  for (size_t i = 0; i < host.size(); ++i) {
    const auto at = (static_cast<int64_t>(i) / strides[k]) % host.dims[k];
    const auto from = static_cast<size_t>(static_cast<int64_t>(i) - at * strides[k]);
    if (!host.f.empty()) host.f[i] = host.f[from];
    if (!host.i.empty()) host.i[i] = host.i[from];
  }
}

void log_sum_exp(const Host& source, Host& out) {
  const auto width = static_cast<size_t>(source.dims.back());
  for (size_t r = 0; r < out.size(); ++r) {
    double sum = 0;
    for (size_t k = 0; k < width; ++k) sum += std::exp(source.f[r * width + k]);
    out.f[r] = round_to(out.dtype, std::log(sum));
  }
}

uint64_t seed_for(const Case& c, mill_dtype dtype, Layout layout, uint64_t seed) {
  Random random(seed ^ (static_cast<uint64_t>(c.op->number) << 32) ^ (uint64_t{c.sample} << 16) ^
                (static_cast<uint64_t>(dtype) << 8) ^ static_cast<uint64_t>(layout));
  return random.next();
}

bool makes_from_attr(const Case& c) {
  return c.op->outputs[0].type == ResultType::attr && c.op->number != MILL_OP_CAST;
}

}  // namespace

uint64_t run_seed() {
  static const uint64_t seed = [] {
    const char* text = std::getenv("MILL_TEST_SEED");
    if (text && std::string(text) == "random") return uint64_t{std::random_device{}()};
    return text ? static_cast<uint64_t>(std::strtoull(text, nullptr, 0)) : uint64_t{20260101};
  }();
  return seed;
}

namespace {

// Equal sizes stay equal, so what fitted together still does.
int64_t larger(int64_t size) {
  switch (size) {
    case 2:
    case 4: return 3;
    case 3: return 19;
    case 5: return 37;
    case 6: return 5;
    case 7: return 70;
    default: return size;
  }
}

bool sizes_in_attributes(int32_t op) {
  switch (op) {
    case MILL_OP_FILL:
    case MILL_OP_ARANGE:
    case MILL_OP_UNIFORM:
    case MILL_OP_NORMAL:
    case MILL_OP_RESHAPE:
    case MILL_OP_EXPAND:
    case MILL_OP_SLICE_BACKWARD:
    case MILL_OP_MAX_POOL_BACKWARD:
    case MILL_OP_AVG_POOL_BACKWARD:
    case MILL_OP_SUM_TO:
    case MILL_OP_RESIZE:
    case MILL_OP_RESIZE_BACKWARD:
    case MILL_OP_TOPK:
    case MILL_OP_EMBEDDING_BACKWARD:
    // Channels that are no multiple of the groups, kernels beyond the input.
    case MILL_OP_CONV:
    case MILL_OP_CONV_INPUT_GRADIENT:
    case MILL_OP_CONV_WEIGHT_GRADIENT:
    case MILL_OP_CONV_TRANSPOSE:
    // groups divides the channels.
    case MILL_OP_GROUP_NORM:
    case MILL_OP_GROUP_NORM_BACKWARD:
    // Gates are three or four times the units.
    case MILL_OP_LSTM_SEQUENCE:
    case MILL_OP_LSTM_SEQUENCE_BACKWARD:
    case MILL_OP_GRU_SEQUENCE:
    case MILL_OP_GRU_SEQUENCE_BACKWARD:
    // Gradients of many steps leave the range of f16.
    case MILL_OP_RNN_SEQUENCE:
    case MILL_OP_RNN_SEQUENCE_BACKWARD: return true;
    default: return false;
  }
}

}  // namespace

const Case* enlarged(const Case& c) {
  struct Copy {
    Case c;
    std::string text;
    std::vector<CaseInput> inputs;
  };
  static std::deque<Copy> copies;
  if (sizes_in_attributes(c.op->number)) return nullptr;
  Copy copy{c, std::string(c.text) + " enlarged", {}};
  bool changed = false;
  for (uint32_t k = 0; k < c.n_inputs; ++k) {
    CaseInput in = c.inputs[k];
    for (uint32_t i = 0; i < in.rank && in.domain != Domain::key; ++i) {
      changed = changed || larger(in.dims[i]) != in.dims[i];
      in.dims[i] = larger(in.dims[i]);
    }
    in.bound = larger(in.bound);
    copy.inputs.push_back(in);
  }
  if (!changed) return nullptr;
  copies.push_back(std::move(copy));
  Copy& kept = copies.back();
  kept.c.text = kept.text.c_str();
  kept.c.inputs = kept.inputs.data();
  return &kept.c;
}

const char* layout_name(Layout layout) {
  static constexpr const char* kNames[] = {"contiguous", "transposed", "gaps",
                                           "offset",     "broadcast",  "mixed"};
  return kNames[static_cast<size_t>(layout)];
}

bool layout_applies(const Case& c, Layout layout) {
  if (layout == Layout::contiguous) return true;
  uint32_t inputs = 0;
  uint32_t wide = 0;
  uint32_t deep = 0;
  for (uint32_t k = 0; k < c.n_inputs; ++k) {
    if (!c.inputs[k].present) continue;
    ++inputs;
    uint32_t axes = 0;
    for (uint32_t i = 0; i < c.inputs[k].rank; ++i) axes += c.inputs[k].dims[i] > 1 ? 1 : 0;
    wide += axes > 0 ? 1 : 0;
    deep += axes > 1 ? 1 : 0;
  }
  switch (layout) {
    case Layout::transposed: return deep > 0;
    case Layout::gaps: return wide > 0;
    case Layout::broadcast: return wide > 0;
    case Layout::mixed: return inputs > 1 && wide > 0;
    default: return inputs > 0;
  }
}

std::vector<mill_dtype> tested_dtypes(const Case& c) {
  static const std::vector<mill_dtype> floats = {MILL_F32, MILL_F64, MILL_BF16, MILL_F16};
  if (makes_from_attr(c)) {
    if (c.op->number == MILL_OP_NORMAL) return floats;
    std::vector<mill_dtype> all = floats;
    for (mill_dtype d = MILL_U8; d <= MILL_I64; ++d) {
      // A negative real has no meaning in an unsigned type.
      bool negative = false;
      for (uint32_t k = 0; k < c.n_attrs; ++k)
        negative = negative || (c.attrs[k].kind == MILL_ATTR_FLOAT && c.attrs[k].f < 0);
      if (!(negative && is_unsigned(d))) all.push_back(d);
    }
    return all;
  }
  bool tested = false;
  bool stat = false;
  for (uint32_t k = 0; k < c.n_inputs; ++k) {
    tested = tested || c.inputs[k].type == InputType::tested;
    stat = stat || c.inputs[k].type == InputType::stat;
  }
  if (!tested)
    return stat ? std::vector<mill_dtype>{MILL_F32, MILL_F64} : std::vector<mill_dtype>{MILL_I64};
  // The row's dtypes are those of its lead input; where that one is of another kind the tested
  // inputs are floats.
  const InputType lead = c.inputs[0].type;
  uint32_t mask = c.op->dtypes;
  if (lead == InputType::stat)
    mask = 1u << MILL_F16 | 1u << MILL_BF16 | 1u << MILL_F32 | 1u << MILL_F64;
  if (lead == InputType::boolean) mask = ((1u << MILL_DTYPE_COUNT) - 1) & ~1u;
  std::vector<mill_dtype> out;
  for (mill_dtype d = MILL_BOOL; d < MILL_DTYPE_COUNT; ++d) {
    if (((mask >> d) & 1u) != 0) out.push_back(d);
  }
  return out;
}

Layout Problem::layout_of(size_t input) const {
  if (layout != Layout::mixed) return layout;
  static constexpr Layout kOrder[] = {Layout::gaps, Layout::broadcast, Layout::transposed,
                                      Layout::offset, Layout::contiguous};
  return kOrder[(input + c->sample) % std::size(kOrder)];
}

std::string Problem::text() const {
  return std::string(c->op->name) + " \"" + c->text + "\" " + dtype_text(dtype) + " " +
         layout_name(layout) + ", MILL_TEST_SEED=" + std::to_string(seed);
}

Problem make_problem(const Case& c, mill_dtype dtype, Layout layout, uint64_t seed) {
  Problem p{&c, dtype, layout, seed, {}, {}, {}, {}};
  for (uint32_t k = 0; k < c.n_attrs; ++k) {
    mill_attr attr = c.attrs[k];
    bool given = ((c.given >> k) & 1u) != 0;
    if (attr.kind == MILL_ATTR_DTYPE && makes_from_attr(c)) {
      attr.i = dtype;
      given = true;
    }
    p.attrs.push_back(attr);
    if (given) p.given.push_back(attr);
  }
  Random random(seed_for(c, dtype, layout, seed));
  Distinct distinct(c, random);
  for (uint32_t k = 0; k < c.n_inputs; ++k) {
    const CaseInput& in = c.inputs[k];
    Host host;
    p.present.push_back(in.present);
    if (in.present) {
      host.dtype = input_dtype(c, k, dtype, layout);
      host.dims = case_dims(in);
      for (size_t e = 0; e < host.size(); ++e) {
        const bool real = is_float(host.dtype);
        switch (in.domain) {
          case Domain::distinct:
            if (real) {
              host.f.push_back(round_to(host.dtype, distinct.real()));
            } else {
              host.i.push_back(wrap_to(host.dtype, distinct.whole(host.dtype)));
            }
            break;
          case Domain::key:
            host.i.push_back(e == 0 ? static_cast<int64_t>(random.next()) : random.below(1000));
            break;
          case Domain::step: host.i.push_back(random.whole(1, 20)); break;
          case Domain::labels:
          case Domain::ids: host.i.push_back(random.below(std::max<int64_t>(in.bound, 1))); break;
          default:
            if (real)
              host.f.push_back(round_to(host.dtype, real_value(in.domain, random)));
            else
              host.i.push_back(whole_value(in.domain, host.dtype, random));
            break;
        }
      }
      if (in.domain == Domain::lse) log_sum_exp(p.inputs[static_cast<size_t>(in.source)], host);
    }
    p.inputs.push_back(std::move(host));
    if (in.present && p.layout_of(k) == Layout::broadcast) {
      const int32_t axis = broadcast_axis(p.inputs[k].dims, c.sample);
      if (axis >= 0) repeat_axis(p.inputs[k], axis);
    }
  }
  return p;
}

Strided strides_for(const Dims& dims, Layout layout, uint32_t sample) {
  const size_t rank = dims.size();
  Strided s{Dims(rank, 0), 0, 0};
  int64_t step = 1;
  for (size_t n = 0; n < rank; ++n) {
    const size_t axis = layout == Layout::transposed ? n : rank - 1 - n;
    if (layout == Layout::gaps) step = n == 0 ? 2 : step + 1;
    s.strides[axis] = step;
    step *= std::max<int64_t>(dims[axis], 1);
  }
  if (layout == Layout::broadcast) {
    const int32_t axis = broadcast_axis(dims, sample);
    if (axis >= 0) s.strides[static_cast<size_t>(axis)] = 0;
  }
  if (layout == Layout::offset) s.offset = 3;
  s.size = s.offset + 1;
  if (count_of(dims) == 0) return s;
  for (size_t i = 0; i < rank; ++i) s.size += (dims[i] - 1) * s.strides[i];
  return s;
}

// ---- memory -------------------------------------------------------------------------------------

void encode(mill_dtype dtype, const Host& host, size_t index, void* to) {
  if (is_float(dtype)) {
    encode_float(dtype, host.f[index], to);
  } else {
    encode_integer(dtype, host.i[index], to);
  }
}

Host decode(mill_dtype dtype, const Dims& dims, const unsigned char* row_major) {
  Host host;
  host.dtype = dtype;
  host.dims = dims;
  const size_t bytes = dtype_bytes(dtype);
  for (size_t i = 0; i < host.size(); ++i) {
    if (is_float(dtype)) {
      host.f.push_back(decode_float(dtype, row_major + i * bytes));
    } else {
      host.i.push_back(decode_integer(dtype, row_major + i * bytes));
    }
  }
  return host;
}

std::vector<unsigned char> read_bytes(World& w, mill_tensor* tensor) {
  std::vector<unsigned char> bytes(static_cast<size_t>(mill_tensor_count(tensor)) *
                                   dtype_bytes(mill_tensor_dtype(tensor)));
  w.ok(mill_tensor_read(w.exec(), tensor, bytes.data(), bytes.size(), w.error()));
  return bytes;
}

Host read_host(World& w, mill_tensor* tensor) {
  const std::vector<unsigned char> bytes = read_bytes(w, tensor);
  return decode(mill_tensor_dtype(tensor), dims_of(tensor), bytes.data());
}

namespace {

// Byte offsets of the elements of a strided tensor, in row-major order.
template <class Use>
void each_address(const Dims& dims, const Dims& strides, int64_t offset, size_t bytes, Use&& use) {
  const auto n = static_cast<size_t>(count_of(dims));
  Dims at(dims.size(), 0);
  for (size_t index = 0; index < n; ++index) {
    int64_t element = offset;
    for (size_t k = 0; k < dims.size(); ++k) element += at[k] * strides[k];
    use(index, static_cast<size_t>(element) * bytes);
    for (size_t axis = dims.size(); axis-- > 0;) {
      if (++at[axis] < dims[axis]) break;
      at[axis] = 0;
    }
  }
}

void finish(World& w, Placed& placed, mill_dtype dtype, const Dims& dims) {
  const auto elements = static_cast<int64_t>(placed.bytes.size() / dtype_bytes(dtype));
  w.ok(mill_tensor_from_host(w.exec(), dtype, &elements, 1, placed.bytes.data(),
                             placed.bytes.size(), placed.buffer.out(), w.error()));
  w.ok(mill_tensor_view(placed.buffer.get(), dims.data(), placed.strides.data(),
                        static_cast<uint32_t>(dims.size()), placed.offset, placed.view.out(),
                        w.error()));
}

}  // namespace

Placed place_host(World& w, const Host& host, Layout layout, uint32_t sample) {
  const Strided s = strides_for(host.dims, layout, sample);
  const size_t bytes = dtype_bytes(host.dtype);
  Placed placed;
  placed.strides = s.strides;
  placed.offset = s.offset;
  // All ones: NaN in every float format, -1 or the largest value in the integers.
  placed.bytes.assign(static_cast<size_t>(s.size) * bytes, host.dtype == MILL_BOOL ? 1 : 0xff);
  each_address(host.dims, s.strides, s.offset, bytes,
               [&](size_t i, size_t at) { encode(host.dtype, host, i, placed.bytes.data() + at); });
  finish(w, placed, host.dtype, host.dims);
  return placed;
}

Placed place_output(World& w, mill_dtype dtype, const Dims& dims, Layout layout) {
  constexpr int64_t kGuard = 16;
  const Strided s = strides_for(dims, layout, 0);
  const size_t bytes = dtype_bytes(dtype);
  Placed placed;
  placed.strides = s.strides;
  placed.offset = s.offset + kGuard;
  placed.bytes.assign(static_cast<size_t>(s.size + 2 * kGuard) * bytes,
                      dtype == MILL_BOOL ? 1 : 0x5a);
  each_address(dims, placed.strides, placed.offset, bytes, [&](size_t, size_t at) {
    std::fill_n(placed.bytes.begin() + static_cast<std::ptrdiff_t>(at), bytes,
                static_cast<unsigned char>(dtype == MILL_BOOL ? 1 : 0xff));
  });
  finish(w, placed, dtype, dims);
  return placed;
}

int64_t first_touched(World& w, const Placed& placed, const Dims& dims, mill_dtype dtype) {
  std::vector<unsigned char> now = read_bytes(w, placed.buffer.get());
  const size_t bytes = dtype_bytes(dtype);
  each_address(dims, placed.strides, placed.offset, bytes, [&](size_t, size_t at) {
    std::copy_n(placed.bytes.begin() + static_cast<std::ptrdiff_t>(at), bytes,
                now.begin() + static_cast<std::ptrdiff_t>(at));
  });
  for (size_t i = 0; i < now.size(); ++i) {
    if (now[i] != placed.bytes[i]) return static_cast<int64_t>(i / bytes);
  }
  return -1;
}

std::vector<Placed> Problem::place(World& w) const {
  std::vector<Placed> out;
  for (size_t k = 0; k < inputs.size(); ++k) {
    out.push_back(present[k] ? place_host(w, inputs[k], layout_of(k), c->sample) : Placed{});
  }
  return out;
}

}  // namespace mill_test
