// What a program may make of the tensors that a tape keeps.
#include <gtest/gtest.h>

#include <map>
#include <set>

#include "gradient/net.h"

namespace mill_test {
namespace {

// Keeps packed tensors in host memory, and counts.
struct Store {
  struct Packed {
    std::vector<unsigned char> bytes;
    Dims dims;
    mill_dtype dtype;
  };
  World* w = nullptr;
  int packs = 0, unpacks = 0, releases = 0, destroys = 0;
  int fail_pack_at = -1, fail_unpack_at = -1;
  bool wrong_dims = false;
  bool nothing = false;
  std::set<mill_tensor*> tensors;

  static mill_status pack(void* user, mill_exec* exec, mill_tensor* tensor, void** out,
                          mill_error* err) {
    auto& s = *static_cast<Store*>(user);
    if (s.packs++ == s.fail_pack_at) {
      mill_error_set(err, -1500, "no room to pack");
      return -1500;
    }
    s.tensors.insert(tensor);
    if (s.nothing) return MILL_OK;
    // Work on the exec is not recorded.
    Tensor doubled;
    const mill_status status = mill_add(exec, tensor, tensor, doubled.out(), err);
    if (status < 0 && status != MILL_E_DTYPE) return status;
    auto* packed = new Packed;
    packed->bytes = read_bytes(*s.w, tensor);
    packed->dtype = mill_tensor_dtype(tensor);
    for (uint32_t i = 0; i < mill_tensor_rank(tensor); ++i)
      packed->dims.push_back(mill_tensor_dim(tensor, static_cast<int32_t>(i)));
    *out = packed;
    return MILL_OK;
  }
  static mill_status unpack(void* user, mill_exec* exec, void* object, mill_tensor** out,
                            mill_error* err) {
    auto& s = *static_cast<Store*>(user);
    if (s.unpacks++ == s.fail_unpack_at) {
      mill_error_set(err, -1501, "lost it");
      return -1501;
    }
    const auto& packed = *static_cast<Packed*>(object);
    Dims dims = packed.dims;
    if (s.wrong_dims) dims.assign(1, static_cast<int64_t>(packed.bytes.size() / 8));
    if (s.wrong_dims) dims.push_back(1);
    return mill_tensor_from_host(exec, packed.dtype, dims.data(),
                                 static_cast<uint32_t>(dims.size()), packed.bytes.data(),
                                 packed.bytes.size(), out, err);
  }
  static void release(void* user, void* object) {
    ++static_cast<Store*>(user)->releases;
    delete static_cast<Packed*>(object);
  }
  static void destroy(void* user) { ++static_cast<Store*>(user)->destroys; }

  mill_status set(World& world, mill_tape* tape) {
    w = &world;
    return mill_tape_on_saved(tape, pack, unpack, release, this, destroy, world.error());
  }
};

class SavedHooksTest : public testing::Test {
 protected:
  World& w_ = world();
  Store store_;
};

using Doubles = std::vector<double>;

TEST_F(SavedHooksTest, ATensorThatTwoOpsKeepIsPackedOnceAndUnpackedForEach) {
  Recording tape(w_);
  w_.ok(store_.set(w_, tape.get()));
  const Tensor x = f64(w_, {3}, {1, 2, -3});
  tape.watch(x);
  {
    const Tensor square = op::mul(w_, x, x);
    const Tensor y = op::sum(w_, op::mul(w_, square, x));
    EXPECT_EQ(store_.packs, 2) << "x and its square";
    w_.ok(tape.backward(y));
  }
  EXPECT_EQ(doubles(w_, tape.gradient_of(x)), (Doubles{3, 12, 27}));
  EXPECT_EQ(store_.unpacks, 3);
  EXPECT_EQ(store_.releases, 2);
  EXPECT_EQ(store_.destroys, 0);
  w_.ok(mill_tape_on_saved(tape.get(), nullptr, nullptr, nullptr, nullptr, nullptr, w_.error()));
  EXPECT_EQ(store_.destroys, 1);
}

TEST_F(SavedHooksTest, TheTapeLetsGoOfWhatWasPacked) {
  uint64_t kept[2] = {};
  for (const bool packed : {false, true}) {
    Recording tape(w_);
    if (packed) w_.ok(store_.set(w_, tape.get()));
    kept[packed ? 1 : 0] = peak_of(w_, [&] {
      Tensor x = make<float>(w_, {128, 128}, std::vector<float>(128 * 128, 0.5f));
      tape.watch(x);
      for (int k = 0; k < 8; ++k) x = op::tanh(w_, x);
    });
  }
  EXPECT_LT(kept[1], kept[0] * 6 / 10);
  EXPECT_EQ(store_.packs, store_.releases);
  EXPECT_EQ(store_.destroys, 1);
}

TEST_F(SavedHooksTest, AFailingPackFailsTheOpAndLeavesTheTape) {
  Recording tape(w_);
  store_.fail_pack_at = 1;
  w_.ok(store_.set(w_, tape.get()));
  const Tensor x = f64(w_, {2}, {1, 2});
  const Tensor z = f64(w_, {2}, {3, 4});
  tape.watch(x);
  tape.watch(z);
  mill_tensor* out = nullptr;
  EXPECT_EQ(mill_mul(w_.exec(), x.get(), z.get(), &out, w_.error()), -1500);
  EXPECT_EQ(out, nullptr);
  EXPECT_NE(w_.message().find("no room to pack"), std::string::npos);
  EXPECT_EQ(tape.count(), 0u);
  EXPECT_EQ(store_.releases, 1) << "what had been packed for the op";
  const Tensor y = op::sum(w_, op::mul(w_, x, z));
  w_.ok(tape.backward(y));
  EXPECT_EQ(doubles(w_, tape.gradient_of(x)), (Doubles{3, 4}));
}

TEST_F(SavedHooksTest, AFailingUnpackFailsTheBackward) {
  Recording tape(w_);
  store_.fail_unpack_at = 0;
  w_.ok(store_.set(w_, tape.get()));
  const Tensor x = f64(w_, {2}, {1, 2});
  tape.watch(x);
  const Tensor y = op::sum(w_, op::mul(w_, x, x));
  EXPECT_EQ(tape.backward(y), -1501);
  EXPECT_NE(w_.message().find("lost it"), std::string::npos);
  EXPECT_EQ(tape.count(), 0u);
  EXPECT_EQ(store_.releases, 1);
}

TEST_F(SavedHooksTest, OtherDimsThanWerePackedAreRefused) {
  Recording tape(w_);
  store_.wrong_dims = true;
  w_.ok(store_.set(w_, tape.get()));
  const Tensor x = f64(w_, {2}, {1, 2});
  tape.watch(x);
  const Tensor y = op::sum(w_, op::mul(w_, x, x));
  EXPECT_EQ(tape.backward(y), MILL_E_SHAPE);
  EXPECT_NE(w_.message().find("[2, 1]"), std::string::npos) << w_.message();
  EXPECT_NE(w_.message().find("[2]"), std::string::npos) << w_.message();
}

TEST_F(SavedHooksTest, NullKeepsTheTensorAsItIs) {
  Recording tape(w_);
  store_.nothing = true;
  w_.ok(store_.set(w_, tape.get()));
  const Tensor x = f64(w_, {2}, {1, 2});
  tape.watch(x);
  const Tensor square = op::mul(w_, x, x);
  const Tensor y = op::sum(w_, op::mul(w_, square, square));
  EXPECT_EQ(store_.packs, 2);
  w_.ok(tape.backward(y));
  EXPECT_EQ(doubles(w_, tape.gradient_of(x)), (Doubles{4, 32}));
  EXPECT_EQ(store_.unpacks, 0);
  EXPECT_EQ(store_.releases, 0);
}

TEST_F(SavedHooksTest, DerivativesOfDerivativesFlowThroughUnpackedTensors) {
  Recording tape(w_);
  w_.ok(store_.set(w_, tape.get()));
  const Tensor x = f64(w_, {3}, {1, 2, -3});
  tape.watch(x);
  const Tensor y = op::sum(w_, op::mul(w_, op::mul(w_, x, x), x));
  const Tensor first = tape.gradient(y, x);
  EXPECT_EQ(doubles(w_, first), (Doubles{3, 12, 27}));
  const Tensor second = tape.gradient(op::sum(w_, first), x);
  EXPECT_EQ(doubles(w_, second), (Doubles{6, 12, -18}));
}

TEST_F(SavedHooksTest, AResetReleasesWhatWasPacked) {
  Recording tape(w_);
  w_.ok(store_.set(w_, tape.get()));
  const Tensor x = f64(w_, {2}, {1, 2});
  tape.watch(x);
  const Tensor y = op::mul(w_, x, x);
  w_.ok(mill_tape_reset(tape.get(), w_.error()));
  EXPECT_EQ(store_.releases, 1);
}

TEST_F(SavedHooksTest, PackNeedsUnpack) {
  Recording tape(w_);
  EXPECT_EQ(mill_tape_on_saved(tape.get(), Store::pack, nullptr, nullptr, &store_, Store::destroy,
                               w_.error()),
            MILL_E_ARG);
  EXPECT_EQ(store_.destroys, 1);
}

TEST_F(SavedHooksTest, ANetworkTrainsWithTheSameBits) {
  Net::Bits bits[2];
  for (const bool packed : {false, true}) {
    Net net(w_, 2, 4, 8);
    Recording tape(w_);
    if (packed) w_.ok(store_.set(w_, tape.get()));
    const Tensor loss(net.forward(false));
    w_.ok(tape.backward(loss));
    bits[packed ? 1 : 0] = net.gradients();
  }
  EXPECT_GT(store_.packs, 0);
  EXPECT_EQ(store_.packs, store_.releases);
  for (mill_tensor* one : store_.tensors) EXPECT_NE(one, nullptr);
  EXPECT_EQ(bits[0], bits[1]);
}

}  // namespace
}  // namespace mill_test
