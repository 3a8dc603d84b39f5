// The same training as samples/c/train_mnist.c, with destructors and exceptions.
//
//   train_mnist_cpp DIR [HIDDEN ...]     DIR has the files of MNIST; usual: one hidden layer of 128
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <fstream>
#include <initializer_list>
#include <millrace/millrace.hpp>
#include <string>
#include <vector>

namespace mr = millrace;

namespace {

constexpr int64_t kEpochs = 10, kBatch = 64;
constexpr double kRate = 2e-3;
constexpr uint64_t kSeed = 1;

struct Dataset {
  mr::Tensor pixels, labels;  // u8 [n, 784] and u8 [n]
};

// The first of the named sets that the directory has, plain or compressed.
Dataset read(const mr::Context& context, const mr::Exec& exec, const std::string& folder,
             std::initializer_list<const char*> sets) {
  for (const std::string set : sets) {
    for (const std::string suffix : {".gz", ""}) {
      const std::string images = folder + "/" + set + "-images-idx3-ubyte" + suffix;
      if (!std::ifstream(images)) continue;
      const mr::Tensor squares = mr::read_idx(context, images);
      return {mr::reshape(exec, squares, {squares.dim(0), -1}),
              mr::read_idx(context, folder + "/" + set + "-labels-idx1-ubyte" + suffix)};
    }
  }
  throw std::runtime_error("no images of MNIST in " + folder);
}

mr::Loader batches_of(const mr::Context& context, const Dataset& set, int64_t batch,
                      uint64_t flags) {
  mr::Loader loader =
      mr::Loader::create(context, {set.pixels.get(), set.labels.get()}, batch, flags, kSeed);
  loader.transform(0, MILL_F32, 1.0 / 255);
  return loader;
}

class Network {
 public:
  Network(const mr::Context& context, const mr::Exec& exec, const std::vector<int64_t>& widths)
      : group_(mr::Group::create(context)) {
    for (std::size_t k = 1; k < widths.size(); ++k) {
      const std::string name = "layer" + std::to_string(k - 1);
      group_.add(name + ".weight", {widths[k], widths[k - 1]});
      group_.add(name + ".bias", {widths[k]});
    }
    group_.build(exec);
    for (uint32_t k = 0; k < group_.count(); ++k) {
      if (k % 2 == 0) group_.init(exec, k, MILL_INIT_KAIMING, 1);
      parameters_.push_back(group_.param(k));
    }
  }
  const mr::Group& group() const { return group_; }

  mr::Tensor forward(const mr::Exec& exec, const mr::Tensor& pixels) const {
    mr::Tensor x = mr::linear(exec, pixels, parameters_[0], parameters_[1]);
    for (std::size_t k = 2; k < parameters_.size(); k += 2) {
      x = mr::linear(exec, mr::relu(exec, x), parameters_[k], parameters_[k + 1]);
    }
    return x;
  }

 private:
  mr::Group group_;
  std::vector<mr::Tensor> parameters_;
};

// Percentage of the set that is not recognised.
double test_error(const Network& net, const mr::Exec& exec, mr::Loader& batches) {
  std::array<mr::Tensor, 2> batch;
  double wrong = 0, seen = 0;
  while (batches.next(exec, batch)) {
    const mr::Tensor guess = mr::argmax(exec, net.forward(exec, batch[0]));
    const mr::Tensor differs = mr::compare(exec, guess, batch[1], MILL_COMPARE_NE);
    wrong += mr::sum(exec, mr::cast(exec, differs, MILL_F32)).item(exec);
    seen += static_cast<double>(batch[1].count());
  }
  return 100 * wrong / seen;
}

void run(const std::string& folder, std::vector<int64_t> widths) {
  const mr::Context context = mr::Context::create();
  mr::Exec exec = mr::Exec::create(context);
  const mr::Generator generator = mr::Generator::create(exec, kSeed);
  exec.set_generator(generator);

  const Dataset train = read(context, exec, folder, {"train"});
  const Dataset test = read(context, exec, folder, {"t10k", "t3k"});
  mr::Loader batches = batches_of(context, train, kBatch, MILL_LOADER_SHUFFLE);
  mr::Loader test_batches = batches_of(context, test, 1000, 0);

  widths.insert(widths.begin(), train.pixels.dim(1));
  widths.push_back(10);
  const Network net(context, exec, widths);
  mr::Optimizer adamw = mr::Optimizer::adamw(exec, net.group(), kRate);
  adamw.set_cosine(batches.batches() / 5, kEpochs * batches.batches());
  mr::Tape tape = mr::Tape::create(context);

  double error = 100;
  std::array<mr::Tensor, 2> batch;
  for (int64_t epoch = 1; epoch <= kEpochs; ++epoch) {
    while (batches.next(exec, batch)) {
      mr::Tensor loss;
      {
        const mr::Recording recording(exec, tape);
        loss = mr::cross_entropy(exec, net.forward(exec, batch[0]), batch[1]);
      }
      tape.backward(exec, loss);
      adamw.step(exec);
    }
    error = test_error(net, exec, test_batches);
    std::printf("epoch %2lld  test error %.2f %%\n", static_cast<long long>(epoch), error);
    std::fflush(stdout);
  }
  std::printf("test error %.2f %%\n", error);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2) {
    std::fprintf(stderr, "usage: train_mnist_cpp DIR [HIDDEN ...]\n");
    return 1;
  }
  try {
    std::vector<int64_t> widths;
    for (int i = 2; i < argc; ++i) widths.push_back(std::atoll(argv[i]));
    if (widths.empty()) widths.push_back(128);
    run(argv[1], widths);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "train_mnist_cpp: %s\n", error.what());
    return 1;
  }
  return 0;
}
