// A8, A8f: convolutions, their gradients by the input and by the weight, next to oneDNN. Each side
// takes the layout it is fastest in: channels first or last; oneDNN's weights may have any order,
// packed from plain ones at each call as ours are. Inputs and results are plain tensors for both.
#include <dlfcn.h>
#include <oneapi/dnnl/dnnl.hpp>

#include <cmath>
#include <unordered_map>

#include "bench/common.h"
#include "bench/mill_api.h"

using bench::Case;
using bench::Mill;
using bench::Session;

namespace {

struct Layer {
  const char* name;
  int64_t batch, channels, size, outputs, kernel, stride, padding;
  bool counted;  // one of the five that the goal names

  int64_t out() const { return (size + 2 * padding - kernel) / stride + 1; }
  double flops() const {
    return 2.0 * static_cast<double>(batch * outputs * out() * out()) *
           static_cast<double>(channels * kernel * kernel);
  }
  std::vector<int64_t> x() const { return {batch, channels, size, size}; }
  std::vector<int64_t> w() const { return {outputs, channels, kernel, kernel}; }
  std::vector<int64_t> y() const { return {batch, outputs, out(), out()}; }
};

const Layer kLayers[] = {
    {"mnist 1->32 3x3 28x28 B64", 64, 1, 28, 32, 3, 1, 1, true},
    {"mnist 32->64 3x3 14x14 B64", 64, 32, 14, 64, 3, 1, 1, true},
    {"resnet 64->64 3x3 56x56 B4", 4, 64, 56, 64, 3, 1, 1, true},
    {"resnet 128->256 3x3 /2 28x28 B8", 8, 128, 28, 256, 3, 2, 1, true},
    {"resnet 256->256 3x3 14x14 B8", 8, 256, 14, 256, 3, 1, 1, true},
    {"resnet 3->64 7x7 /2 112x112 B4", 4, 3, 112, 64, 7, 2, 3, false},
    {"resnet 256->64 1x1 56x56 B2", 2, 256, 56, 64, 1, 1, 0, false},
    {"resnet 512->512 3x3 7x7 B8", 8, 512, 7, 512, 3, 1, 1, false},
};

enum class What { forward, input, weight };
const char* const kWhat[] = {"forward", "by the input", "by the weight"};

int64_t count(const std::vector<int64_t>& dims) {
  int64_t n = 1;
  for (int64_t d : dims) n *= d;
  return n;
}

void set_openmp_threads(int n) {
  using SetThreads = void (*)(int);
  static const auto set = reinterpret_cast<SetThreads>(dlsym(RTLD_DEFAULT, "omp_set_num_threads"));
  if (set) set(n);
}

struct Data {
  std::vector<float> x, w, y;
  explicit Data(const Layer& l)
      : x(static_cast<size_t>(count(l.x()))),
        w(static_cast<size_t>(count(l.w()))),
        y(static_cast<size_t>(count(l.y()))) {
    bench::fill_random(x.data(), count(l.x()), 1);
    bench::fill_random(w.data(), count(l.w()), 2);
    bench::fill_random(y.data(), count(l.y()), 3);
  }
};

// oneDNN in one layout of x and y.
class PeerLayout {
 public:
  PeerLayout(const Layer& l, What what, bool last, const Data& data)
      : l_(l), what_(what), engine_(dnnl::engine::kind::cpu, 0), stream_(engine_) {
    using dnnl::memory;
    using dnnl::prop_kind;
    const auto f32 = memory::data_type::f32;
    const auto plain = last ? memory::format_tag::nhwc : memory::format_tag::nchw;
    const memory::desc x_desc(l.x(), f32, plain), y_desc(l.y(), f32, plain);
    const memory::desc w_any(l.w(), f32, memory::format_tag::any);
    const memory::desc w_desc(l.w(), f32, memory::format_tag::oihw);
    const memory::dims strides{l.stride, l.stride}, padding{l.padding, l.padding};
    x_ = made(x_desc, data.x, l.x());
    y_ = made(y_desc, data.y, l.y());
    w_ = made(w_desc, data.w, l.w());
    // The version 2 interface takes descriptors of operations, version 3 does not.
    const auto direct = dnnl::algorithm::convolution_auto;
    const dnnl::convolution_forward::primitive_desc forward(
        {prop_kind::forward_training, direct, x_desc, w_any, y_desc, strides, padding, padding},
        engine_);
    if (what == What::forward) {
      inner_desc_ = forward.weights_desc();
      run_ = dnnl::convolution_forward(forward);
    } else if (what == What::input) {
      const dnnl::convolution_backward_data::primitive_desc desc(
          {direct, x_desc, w_any, y_desc, strides, padding, padding}, engine_, forward);
      inner_desc_ = desc.weights_desc();
      run_ = dnnl::convolution_backward_data(desc);
    } else {
      const dnnl::convolution_backward_weights::primitive_desc desc(
          {direct, x_desc, w_any, y_desc, strides, padding, padding}, engine_, forward);
      inner_desc_ = desc.diff_weights_desc();
      run_ = dnnl::convolution_backward_weights(desc);
    }
    inner_ = memory(inner_desc_, engine_);
    same_ = inner_desc_ == w_desc;
    if (!same_) {
      turn_ = what == What::weight ? dnnl::reorder(inner_, w_) : dnnl::reorder(w_, inner_);
    }
  }

  void run() {
    dnnl::memory& w = same_ ? w_ : inner_;
    switch (what_) {
      case What::forward:
        if (!same_) turn_.execute(stream_, w_, inner_);
        run_.execute(stream_, {{DNNL_ARG_SRC, x_}, {DNNL_ARG_WEIGHTS, w}, {DNNL_ARG_DST, y_}});
        break;
      case What::input:
        if (!same_) turn_.execute(stream_, w_, inner_);
        run_.execute(stream_,
                     {{DNNL_ARG_DIFF_DST, y_}, {DNNL_ARG_WEIGHTS, w}, {DNNL_ARG_DIFF_SRC, x_}});
        break;
      case What::weight:
        run_.execute(stream_,
                     {{DNNL_ARG_SRC, x_}, {DNNL_ARG_DIFF_DST, y_}, {DNNL_ARG_DIFF_WEIGHTS, w}});
        if (!same_) turn_.execute(stream_, inner_, w_);
        break;
    }
    stream_.wait();
  }

  std::vector<float> result() {
    dnnl::memory& from = what_ == What::forward ? y_ : what_ == What::input ? x_ : w_;
    const auto dims = what_ == What::forward ? l_.y() : what_ == What::input ? l_.x() : l_.w();
    std::vector<float> out(static_cast<size_t>(count(dims)));
    dnnl::memory plain({dims, dnnl::memory::data_type::f32, dnnl::memory::format_tag::nchw},
                       engine_, out.data());
    dnnl::reorder(from, plain).execute(stream_, from, plain);
    stream_.wait();
    return out;
  }

 private:
  dnnl::memory made(const dnnl::memory::desc& desc, const std::vector<float>& values,
                    const std::vector<int64_t>& dims) {
    dnnl::memory to(desc, engine_);
    dnnl::memory plain({dims, dnnl::memory::data_type::f32, dnnl::memory::format_tag::nchw},
                       engine_, const_cast<float*>(values.data()));
    dnnl::reorder(plain, to).execute(stream_, plain, to);
    stream_.wait();
    return to;
  }

  Layer l_;
  What what_;
  dnnl::engine engine_;
  dnnl::stream stream_;
  dnnl::memory x_, y_, w_, inner_;
  dnnl::memory::desc inner_desc_;
  dnnl::primitive run_;
  dnnl::reorder turn_;
  bool same_ = false;
};

class Peer {
 public:
  Peer(const Layer& l, What what, const Data& data, int threads) : threads_(threads) {
    set_openmp_threads(threads);
    first_ = std::make_unique<PeerLayout>(l, what, false, data);
    last_ = std::make_unique<PeerLayout>(l, what, true, data);
  }
  // first_only: channels first, as most programs have them.
  bench::Side side(bool first_only) {
    const auto config = [this](const char* name, PeerLayout* layout) {
      bench::Config out;
      out.name = name;
      out.enter = [this, layout] {
        set_openmp_threads(threads_);
        now_ = layout;
      };
      return out;
    };
    bench::Side out;
    out.name = "oneDNN " + std::to_string(dnnl_version()->major) + "." +
               std::to_string(dnnl_version()->minor) + "." + std::to_string(dnnl_version()->patch);
    out.run = [this](int64_t times) {
      for (int64_t i = 0; i < times; ++i) now_->run();
    };
    out.configs = {config("nchw", first_.get())};
    if (!first_only) out.configs.push_back(config("nhwc", last_.get()));
    return out;
  }
  std::vector<float> result() {
    first_->run();
    return first_->result();
  }

 private:
  int threads_;
  std::unique_ptr<PeerLayout> first_, last_;
  PeerLayout* now_ = nullptr;
};

class Ours {
 public:
  Ours(Mill& mill, const Layer& l, What what, const Data& data) : mill_(mill), l_(l), what_(what) {
    for (int last = 0; last < 2; ++last) {
      x_[last] = made(l.x(), data.x, last != 0);
      y_[last] = made(l.y(), data.y, last != 0);
    }
    w_ = mill.tensor(l.w(), data.w.data());
  }
  ~Ours() {
    for (mill_tensor* t : {x_[0], x_[1], y_[0], y_[1], w_, out_[0], out_[1]}) {
      mill_.api.mill_tensor_release(t);
    }
  }
  void run(int last) {
    const int64_t stride[2] = {l_.stride, l_.stride}, padding[2] = {l_.padding, l_.padding};
    if (what_ == What::forward) {
      mill_.check(mill_.api.mill_conv(mill_.exec, x_[last], w_, nullptr, stride, 2, padding, 2,
                                      nullptr, 0, 1, &out_[last], mill_.err));
    } else if (what_ == What::input) {
      const auto dims = l_.x();
      mill_.check(mill_.api.mill_conv_input_gradient(mill_.exec, y_[last], w_, dims.data(), 4,
                                                     stride, 2, padding, 2, nullptr, 0, 1,
                                                     &out_[last], mill_.err));
    } else {
      const auto dims = l_.w();
      mill_.check(mill_.api.mill_conv_weight_gradient(mill_.exec, y_[last], x_[last], dims.data(),
                                                      4, stride, 2, padding, 2, nullptr, 0, 1,
                                                      &out_[last], mill_.err));
    }
  }
  bench::Side side(bool first_only) {
    const auto config = [this](const char* name, int last) {
      bench::Config out;
      out.name = name;
      out.enter = [this, last] { last_ = last; };
      return out;
    };
    bench::Side out{"millrace",
                    [this](int64_t times) {
                      for (int64_t i = 0; i < times; ++i) run(last_);
                    },
                    {config("nchw", 0)}};
    if (!first_only) out.configs.push_back(config("nhwc", 1));
    return out;
  }
  std::vector<float> result() {
    run(0);
    return mill_.read(out_[0]);
  }

 private:
  mill_tensor* made(const std::vector<int64_t>& dims, const std::vector<float>& values, bool last) {
    mill_tensor* plain = mill_.tensor(dims, values.data());
    if (!last) return plain;
    // The same tensor over values whose channels are innermost.
    const int64_t planes = dims[2] * dims[3];
    std::vector<float> turned(values.size());
    for (int64_t n = 0; n < dims[0]; ++n) {
      for (int64_t c = 0; c < dims[1]; ++c) {
        for (int64_t p = 0; p < planes; ++p) {
          turned[static_cast<size_t>((n * planes + p) * dims[1] + c)] =
              values[static_cast<size_t>((n * dims[1] + c) * planes + p)];
        }
      }
    }
    mill_.api.mill_tensor_release(plain);
    mill_tensor* inner = mill_.tensor({dims[0], dims[2], dims[3], dims[1]}, turned.data());
    const int64_t order[4] = {0, 3, 1, 2};
    mill_tensor* out = nullptr;
    mill_.check(mill_.api.mill_permute(mill_.exec, inner, order, 4, &out, mill_.err));
    mill_.api.mill_tensor_release(inner);
    return out;
  }

  Mill& mill_;
  Layer l_;
  What what_;
  int last_ = 0;
  mill_tensor *x_[2] = {}, *y_[2] = {}, *w_ = nullptr, *out_[2] = {};
};

void sweep(Session& session, int threads, bool first_only = false) {
  const char* const id = first_only ? "A8f" : "A8";
  const std::string what = std::string(threads == 1 ? "one thread" : "two threads") +
                           (first_only ? ", channels first" : "");
  if (!session.wanted(id, what)) return;
  Mill mill(session.options().library,
            threads == 1 ? MILL_THREADS_CALLER_ONLY : static_cast<uint32_t>(threads));
  session.heading(std::string(id) + " convolution, " + what + "; " + mill.device(), "GFLOP/s");
  double sum = 0, first = 0;
  int n = 0;
  for (const Layer& l : kLayers) {
    const Data data(l);
    for (const What kind : {What::forward, What::input, What::weight}) {
      std::unique_ptr<Ours> ours;
      std::unique_ptr<Peer> peer;
      session.ours().run([&] { ours = std::make_unique<Ours>(mill, l, kind, data); });
      session.peer().run([&] { peer = std::make_unique<Peer>(l, kind, data, threads); });
      Case c;
      c.id = id;
      c.name = std::string(l.name) + " " + kWhat[static_cast<int>(kind)];
      c.ours = ours->side(first_only);
      c.peer = peer->side(first_only);
      c.work = l.flops();
      c.rate = "GFLOP/s";
      const auto depth =
          static_cast<double>(kind == What::forward ? l.channels * l.kernel * l.kernel
                              : kind == What::input ? l.outputs * l.kernel * l.kernel
                                                    : l.batch * l.out() * l.out());
      c.check = [&, depth] {
        std::vector<float> mine, theirs;
        session.ours().run([&] { mine = ours->result(); });
        session.peer().run([&] { theirs = peer->result(); });
        return bench::compare_values(mine.data(), theirs.data(), static_cast<int64_t>(mine.size()),
                                     1e-5, std::sqrt(depth));
      };
      const bench::Result result = session.run(c);
      if (!l.counted || result.ours.median <= 0) continue;
      const double ratio = result.peer.median / result.ours.median;
      if (l.channels == 1 && kind == What::input) {
        first = ratio;  // the goal names this one apart
        continue;
      }
      sum += std::log(ratio);
      ++n;
    }
  }
  if (n == 0) return;
  const double mean = std::exp(sum / n);
  session.report(id, what + ": geometric mean of the ratios", mean, "x", ">= 0.90", mean >= 0.9);
  session.report(id, what + ": gradient by the first layer's input", first, "x", ">= 3.00",
                 first >= 3);
}

}  // namespace

int main(int argc, char** argv) {
  return bench::run_program(argc, argv,
                            {{"one thread", [](Session& s) { sweep(s, 1); }, false},
                             {"two threads", [](Session& s) { sweep(s, 2); }, true},
                             {"channels first", [](Session& s) { sweep(s, 1, true); }, false}});
}
