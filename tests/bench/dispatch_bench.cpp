// A1 to A3: what a call costs beside the arithmetic, next to libtorch.
#include "bench/mill_api.h"
#include "bench/torch_peer.h"

using bench::Case;
using bench::Mill;
using bench::Session;

namespace {

// Gradients by x of sum(chain(x)), with x as a parameter: backward assigns, as torch does after a
// reset.
class MillChain {
 public:
  MillChain(Mill& mill, const std::vector<float>& x, const std::vector<float>& w,
            const std::vector<float>& b)
      : mill_(mill), n_(static_cast<int64_t>(x.size())) {
    const bench::Api& api = mill.api;
    mill.check(api.mill_group_create(mill.context, MILL_F32, &group_, mill.err));
    mill.check(api.mill_group_add(group_, "x", &n_, 1, nullptr, mill.err));
    mill.check(api.mill_group_build(group_, mill.exec, mill.err));
    mill.check(api.mill_group_param(group_, 0, &x_, mill.err));
    mill.check(api.mill_tensor_write(mill.exec, x_, x.data(), x.size() * sizeof(float), mill.err));
    mill.check(api.mill_tape_create(mill.context, &tape_, mill.err));
    w_ = mill.tensor({n_}, w.data());
    b_ = mill.tensor({n_}, b.data());
  }
  ~MillChain() {
    const bench::Api& api = mill_.api;
    api.mill_tensor_release(x_);
    api.mill_tensor_release(w_);
    api.mill_tensor_release(b_);
    api.mill_tape_release(tape_);
    api.mill_group_release(group_);
  }

  void run(int64_t times, int nodes) {
    const bench::Api& api = mill_.api;
    mill_exec* exec = mill_.exec;
    mill_error* err = mill_.err;
    mill_.check(api.mill_exec_set_tape(exec, tape_, err));
    for (int64_t i = 0; i < times; ++i) {
      mill_.check(api.mill_group_clear_gradients(group_, err));
      mill_tensor* y = x_;
      for (int k = 0; k < nodes; ++k) {
        mill_tensor* z = nullptr;
        mill_.check(k % 2 == 0 ? api.mill_mul(exec, y, w_, &z, err)
                               : api.mill_add(exec, y, b_, &z, err));
        if (y != x_) api.mill_tensor_release(y);
        y = z;
      }
      mill_tensor* loss = nullptr;
      mill_.check(api.mill_sum(exec, y, nullptr, 0, 0, &loss, err));
      api.mill_tensor_release(y);
      mill_.check(api.mill_tape_backward(tape_, exec, loss, nullptr, 0, err));
      api.mill_tensor_release(loss);
    }
    mill_.check(api.mill_exec_set_tape(exec, nullptr, err));
  }

  std::vector<float> gradient() {
    mill_tensor* tensor = nullptr;
    mill_.check(mill_.api.mill_group_gradient(group_, 0, &tensor, mill_.err));
    std::vector<float> out = mill_.read(tensor);
    mill_.api.mill_tensor_release(tensor);
    return out;
  }

 private:
  Mill& mill_;
  int64_t n_;
  mill_group* group_ = nullptr;
  mill_tape* tape_ = nullptr;
  mill_tensor *x_ = nullptr, *w_ = nullptr, *b_ = nullptr;
};

std::vector<float> random_values(int64_t n, uint64_t seed, float low, float high) {
  std::vector<float> out(static_cast<size_t>(n));
  bench::fill_random(out.data(), n, seed, low, high);
  return out;
}

void run_chain(Session& session, Mill& mill, const char* id, const char* name, int64_t n, int nodes,
               double goal) {
  if (!session.wanted(id, name)) return;
  const auto x = random_values(n, 1, -1, 1);
  const auto w = random_values(n, 2, 0.99f, 1.01f);
  const auto b = random_values(n, 3, -0.01f, 0.01f);
  MillChain ours(mill, x, w, b);
  bench::peer::Chain peer =
      nodes == 1 ? bench::peer::mul_sum_backward(x, w) : bench::peer::chain(x, w, b, nodes);
  Case c;
  c.id = id;
  c.name = name;
  c.ours = {"millrace", [&](int64_t times) { ours.run(times, nodes); }, {}};
  c.peer = peer.side;
  c.goal = goal;
  c.check = [&] {
    const auto mine = ours.gradient();
    return bench::compare_values(mine.data(), peer.gradient().data(), n, 1e-4);
  };
  session.run(c);
}

void dispatch(Session& session) {
  Mill mill(session.options().library, 0);
  session.heading("Dispatch, " + mill.device());
  {
    const float one = 1.25f;
    const float two = 2.5f;
    mill_tensor* a = mill.tensor({1}, &one);
    mill_tensor* b = mill.tensor({1}, &two);
    Case c;
    c.id = "A1";
    c.name = "add of one element";
    c.ours = {"millrace",
              [&](int64_t n) {
                const auto add = mill.api.mill_add;
                const auto release = mill.api.mill_tensor_release;
                for (int64_t i = 0; i < n; ++i) {
                  mill_tensor* out = nullptr;
                  mill.check(add(mill.exec, a, b, &out, mill.err));
                  release(out);
                }
              },
              {}};
    c.peer = bench::peer::add_one();
    c.limit = 0.15e-6;
    c.goal = 3;
    c.check = [&]() -> std::string {
      mill_tensor* out = nullptr;
      mill.check(mill.api.mill_add(mill.exec, a, b, &out, mill.err));
      const float sum = mill.read(out)[0];
      mill.api.mill_tensor_release(out);
      return sum == one + two ? "" : "1.25 + 2.5 is " + std::to_string(sum);
    };
    session.run(c);
    // As a program that reuses its results would do it.
    mill_tensor* out = nullptr;
    mill.check(mill.api.mill_add(mill.exec, a, b, &out, mill.err));
    c.name = "add of one element into a given output";
    c.ours.run = [&](int64_t n) {
      for (int64_t i = 0; i < n; ++i)
        mill.check(mill.api.mill_add(mill.exec, a, b, &out, mill.err));
    };
    c.limit = 0;
    c.goal = 0;
    session.run(c);
    for (mill_tensor* tensor : {a, b, out}) mill.api.mill_tensor_release(tensor);
  }
  run_chain(session, mill, "A2", "mul, sum, backward of one element", 1, 1, 10);
  run_chain(session, mill, "A3", "chain of 1,000 ops on 64 floats, backward", 64, 1000, 4);
}

}  // namespace

int main(int argc, char** argv) {
  return bench::run_program(argc, argv, {{"dispatch", dispatch, false}});
}
