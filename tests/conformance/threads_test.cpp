// The same bits from the same number of threads in every run; the same random numbers from any
// number of threads.
#include <gtest/gtest.h>

#include "conformance/problem.h"

namespace mill_test {
namespace {

constexpr uint32_t kThreads[] = {1, 2, 3};

struct Job {
  const char* name;
  int32_t op;
  std::vector<Dims> floats;    // dims of floating inputs, in order; an empty list entry is a scalar
  std::vector<int64_t> bound;  // > 0: the input is i64 below it; -1: a key
  std::vector<mill_attr> attrs;
  uint32_t n_out;
};

mill_attr ints(int32_t id, const Dims& values) {
  return {id, MILL_ATTR_INTS, 0, 0, values.data(), values.size()};
}
mill_attr integer(int32_t id, int64_t value) {
  return {id, MILL_ATTR_INT, value, 0, nullptr, 0};
}

const Dims kFlat = {100003};
const Dims kWide = {257, 501};
const Dims kRow = {501};
const Dims kColumn = {257};
const Dims kFirst = {0};
const Dims kScalar = {};
const Dims kOne = {1};

const Job kJobs[] = {
    {"exp", MILL_OP_EXP, {kFlat}, {0}, {}, 1},
    {"add", MILL_OP_ADD, {kWide, kRow}, {0, 0}, {}, 1},
    {"sum", MILL_OP_SUM, {kFlat}, {0}, {}, 1},
    {"sum over rows", MILL_OP_SUM, {kWide}, {0}, {ints(0, kFirst)}, 1},
    {"mean", MILL_OP_MEAN, {kFlat}, {0}, {}, 1},
    {"argmax", MILL_OP_ARGMAX, {kWide}, {0}, {}, 1},
    {"matmul", MILL_OP_MATMUL, {{130, 257}, kWide}, {0, 0}, {}, 1},
    {"linear", MILL_OP_LINEAR, {{130, 501}, kWide, kColumn}, {0, 0, 0}, {}, 1},
    {"softmax", MILL_OP_SOFTMAX, {kWide}, {0}, {}, 1},
    {"softmax over rows", MILL_OP_SOFTMAX, {kWide}, {0}, {integer(0, 0)}, 1},
    {"layer_norm", MILL_OP_LAYER_NORM, {kWide, kRow, kRow}, {0, 0, 0}, {}, 3},
    {"layer_norm_backward",
     MILL_OP_LAYER_NORM_BACKWARD,
     {kWide, kWide, kRow, kColumn, kColumn},
     {0, 0, 0, 0, 0},
     {},
     3},
    {"cross_entropy", MILL_OP_CROSS_ENTROPY, {kWide, kColumn}, {0, 501}, {}, 2},
    {"cross_entropy_backward",
     MILL_OP_CROSS_ENTROPY_BACKWARD,
     {kScalar, kWide, kColumn, kColumn},
     {0, 0, 501, 0},
     {},
     1},
    {"embedding_backward",
     MILL_OP_EMBEDDING_BACKWARD,
     {{4001, 24}, {4001}},
     {0, 65},
     {integer(0, 65)},
     1},
    {"squared_norm", MILL_OP_SQUARED_NORM, {kFlat, kWide}, {0, 0}, {}, 1},
    {"sgd_step", MILL_OP_SGD_STEP, {kFlat, kFlat, kFlat, kOne, kOne}, {0, 0, 0, 0, 0}, {}, 2},
};

std::vector<Host> draw(const Job& job) {
  Random random(run_seed() + static_cast<uint64_t>(job.op));
  std::vector<Host> out;
  for (size_t k = 0; k < job.floats.size(); ++k) {
    Host host;
    host.dims = job.floats[k];
    host.dtype = job.bound[k] > 0 ? MILL_I64 : MILL_F32;
    for (size_t i = 0; i < host.size(); ++i) {
      if (job.bound[k] > 0)
        host.i.push_back(random.below(job.bound[k]));
      else
        host.f.push_back(random.between(0.2, 2));
    }
    out.push_back(std::move(host));
  }
  return out;
}

std::vector<std::vector<unsigned char>> bits(World& w, const Job& job,
                                             const std::vector<Host>& hosts) {
  std::vector<Placed> placed;
  std::vector<mill_tensor*> in;
  for (const Host& host : hosts) {
    placed.push_back(place_host(w, host, Layout::contiguous, 0));
    in.push_back(placed.back().view.get());
  }
  std::vector<std::vector<unsigned char>> out;
  for (const Tensor& tensor : invoke(w, job.op, in, job.attrs, job.n_out))
    out.push_back(read_bytes(w, tensor.get()));
  return out;
}

class Threads : public testing::TestWithParam<uint32_t> {};

TEST_P(Threads, EveryRunGivesTheSameBits) {
  World& w = world(GetParam());
  for (const Job& job : kJobs) {
    const std::vector<Host> hosts = draw(job);
    const auto first = bits(w, job, hosts);
    for (int round = 0; round < 3; ++round) EXPECT_EQ(bits(w, job, hosts), first) << job.name;
    World another(GetParam());
    EXPECT_EQ(bits(another, job, hosts), first) << job.name << " in another context";
  }
}

TEST_P(Threads, ResultsAgreeWithOneThreadToRounding) {
  World& one = world(1);
  World& w = world(GetParam());
  for (const Job& job : kJobs) {
    const std::vector<Host> hosts = draw(job);
    const auto want = bits(one, job, hosts);
    const auto have = bits(w, job, hosts);
    for (size_t k = 0; k < want.size(); ++k) {
      if (job.op == MILL_OP_ARGMAX) {
        EXPECT_EQ(have[k], want[k]);
        continue;
      }
      ASSERT_EQ(have[k].size(), want[k].size());
      double worst = 0;
      double size = 0;
      for (size_t i = 0; i < want[k].size(); i += 4) {
        const double a = decode_float(MILL_F32, have[k].data() + i);
        const double b = decode_float(MILL_F32, want[k].data() + i);
        worst = std::fmax(worst, std::fabs(a - b));
        size = std::fmax(size, std::fabs(b));
      }
      EXPECT_LE(worst, 2e-6 * size) << job.name << " output " << k;
    }
  }
}

TEST_P(Threads, RandomNumbersAreThoseOfOneThread) {
  World& one = world(1);
  World& w = world(GetParam());
  const int64_t dims[] = {70001};
  for (const mill_dtype dtype : {MILL_F32, MILL_F64, MILL_BF16}) {
    const auto draws = [&](World& in, bool normal) {
      const Tensor key = make<int64_t>(in, {2}, {17, 5});
      Tensor out;
      in.ok(normal
                ? mill_normal(in.exec(), key.get(), dims, 1, dtype, 0, 1, out.out(), in.error())
                : mill_uniform(in.exec(), key.get(), dims, 1, dtype, 0, 1, out.out(), in.error()));
      return read_bytes(in, out.get());
    };
    EXPECT_EQ(draws(w, false), draws(one, false)) << dtype_text(dtype);
    EXPECT_EQ(draws(w, true), draws(one, true)) << dtype_text(dtype);
  }
}

INSTANTIATE_TEST_SUITE_P(Count, Threads, testing::ValuesIn(kThreads),
                         testing::PrintToStringParamName());

}  // namespace
}  // namespace mill_test
