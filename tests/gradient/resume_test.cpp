// Stopping and going on: a checkpoint at step k, loaded into objects made anew in another context,
// continues bit for bit.
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <memory>
#include <set>

#include "gradient/model.h"

namespace mill_test {
namespace {

constexpr int kSteps = 14;

class TempFile {
 public:
  TempFile() {
    std::string pattern =
        (std::filesystem::temp_directory_path() / "millrace-resume-XXXXXX").string();
    if (!mkdtemp(pattern.data())) throw std::runtime_error("no temporary directory");
    dir_ = pattern;
  }
  ~TempFile() {
    std::error_code ignored;
    std::filesystem::remove_all(dir_, ignored);
  }
  TempFile(const TempFile&) = delete;
  TempFile& operator=(const TempFile&) = delete;
  std::string path() const { return (dir_ / "run.safetensors").string(); }

 private:
  std::filesystem::path dir_;
};

// A program that trains: everything random in it, everything stateful.
class Training {
 public:
  Training(uint64_t seed, bool sgd, uint32_t threads) : w_(threads) {
    w_.ok(mill_generator_create(w_.exec(), seed, generator_.out(), w_.error()));
    w_.ok(mill_exec_set_generator(w_.exec(), generator_.get(), w_.error()));
    p_ = std::make_unique<Parameters>(
        w_, MILL_F32,
        std::vector<NamedDims>{
            {"in.weight", {16, 5}}, {"in.bias", {16}}, {"out.weight", {3, 16}}, {"out.bias", {3}}});
    w_.ok(mill_group_init(p_->get(), w_.exec(), 0, MILL_INIT_KAIMING, std::sqrt(2.0), w_.error()));
    w_.ok(mill_group_init(p_->get(), w_.exec(), 2, MILL_INIT_NORMAL, 0.1, w_.error()));
    average_ = make<float>(w_, {1}, {0});
    spread_ = make<float>(w_, {1}, {1});
    w_.ok(mill_group_add_buffer(p_->get(), "average", average_.get(), w_.error()));
    w_.ok(mill_group_add_buffer(p_->get(), "spread", spread_.get(), w_.error()));
    if (sgd) {
      w_.ok(mill_optimizer_create_sgd(w_.exec(), p_->get(), 0.05, 0.9, 1e-3, 1, optimizer_.out(),
                                      w_.error()));
    } else {
      w_.ok(mill_optimizer_create_adamw(w_.exec(), p_->get(), 1e-2, 0.9, 0.99, 1e-8, 0.01,
                                        optimizer_.out(), w_.error()));
    }
    w_.ok(mill_optimizer_set_schedule(optimizer_.get(), MILL_SCHEDULE_COSINE, 3, kSteps, 0.1,
                                      w_.error()));
    w_.ok(mill_optimizer_set_clip_norm(optimizer_.get(), 0.5, w_.error()));
    constexpr int64_t kRows = 37;
    std::vector<float> x;
    for (const double value : random_values(77, kRows * 5)) x.push_back(static_cast<float>(value));
    std::vector<int64_t> labels;
    for (int64_t r = 0; r < kRows; ++r) labels.push_back((r * r) % 3);
    columns_[0] = make<float>(w_, {kRows, 5}, x);
    columns_[1] = make<int64_t>(w_, {kRows}, labels);
    mill_loader_opts opts{};
    opts.size = sizeof opts;
    opts.type = MILL_STRUCT_LOADER_OPTS;
    opts.seed = seed + 1;
    opts.batch = 8;
    opts.flags = MILL_LOADER_SHUFFLE;
    mill_tensor* const columns[] = {columns_[0].get(), columns_[1].get()};
    w_.ok(mill_loader_create(w_.context(), columns, 2, &opts, loader_.out(), w_.error()));
  }

  std::vector<unsigned char> step() {
    Tensor batch[2];
    next(batch);
    Tensor loss;
    {
      Recording tape(w_);
      Tensor dropped;
      const Tensor hidden = op::gelu(w_, op::linear(w_, batch[0], (*p_)[0], (*p_)[1]));
      w_.ok(mill_dropout(w_.exec(), hidden.get(), nullptr, 0.3, dropped.out(), w_.error()));
      loss = op::cross_entropy(w_, op::linear(w_, dropped, (*p_)[2], (*p_)[3]), batch[1]);
      w_.ok(tape.backward(loss));
    }
    const int64_t one[] = {1};
    Tensor line;
    w_.ok(mill_reshape(w_.exec(), loss.get(), one, 1, line.out(), w_.error()));
    mill_tensor* kept[] = {average_.get(), spread_.get()};
    w_.ok(mill_running_update(w_.exec(), kept[0], kept[1], line.get(), line.get(), 0.3, 0, &kept[0],
                              &kept[1], w_.error()));
    w_.ok(mill_optimizer_step(optimizer_.get(), w_.exec(), w_.error()));
    return read_bytes(w_, loss.get());
  }

  std::vector<std::vector<unsigned char>> parameters() {
    std::vector<std::vector<unsigned char>> out;
    for (uint32_t k = 0; k < p_->count(); ++k) out.push_back(p_->bytes(k));
    out.push_back(read_bytes(w_, average_.get()));
    out.push_back(read_bytes(w_, spread_.get()));
    return out;
  }
  void save(const std::string& path) {
    w_.ok(mill_checkpoint_save(w_.exec(), path.c_str(), MILL_NTS, p_->get(), optimizer_.get(),
                               generator_.get(), loader_.get(), w_.error()));
  }
  void load(const std::string& path) {
    w_.ok(mill_checkpoint_load(w_.exec(), path.c_str(), MILL_NTS, p_->get(), optimizer_.get(),
                               generator_.get(), loader_.get(), w_.error()));
  }
  World& w() { return w_; }
  Parameters& group() { return *p_; }
  mill_optimizer* optimizer() { return optimizer_.get(); }

 private:
  void next(Tensor (&batch)[2]) {
    mill_tensor* raw[2] = {};
    mill_status status = mill_loader_next(loader_.get(), w_.exec(), raw, 2, w_.error());
    if (status == MILL_END) status = mill_loader_next(loader_.get(), w_.exec(), raw, 2, w_.error());
    w_.ok(status);
    batch[0] = Tensor(raw[0]);
    batch[1] = Tensor(raw[1]);
  }

  World w_;
  Generator generator_;
  std::unique_ptr<Parameters> p_;
  Optimizer optimizer_;
  Tensor columns_[2];
  Tensor average_, spread_;  // buffers
  Loader loader_;
};

struct Config {
  bool sgd;
  uint32_t threads;
};

class Resume : public testing::TestWithParam<Config> {
 protected:
  Training make_run(uint64_t seed) { return Training(seed, GetParam().sgd, GetParam().threads); }
};

TEST_P(Resume, TheSameSeedTwiceGivesTheSameBits) {
  Training a = make_run(3);
  Training b = make_run(3);
  std::set<std::vector<unsigned char>> losses;
  for (int k = 0; k < kSteps; ++k) {
    const auto loss = a.step();
    EXPECT_EQ(b.step(), loss) << "step " << k;
    losses.insert(loss);
  }
  EXPECT_EQ(losses.size(), static_cast<size_t>(kSteps))
      << "the losses of a run differ from each other";
  EXPECT_EQ(a.parameters(), b.parameters());
}

TEST_P(Resume, AnotherSeedGivesOtherBits) {
  Training a = make_run(3);
  Training b = make_run(4);
  EXPECT_NE(a.step(), b.step());
}

TEST_P(Resume, ACheckpointContinuesBitForBit) {
  const TempFile file;
  for (const int k : {0, 1, 4, 5, 9}) {  // 5 batches make an epoch of 37 rows
    Training uninterrupted = make_run(3);
    for (int i = 0; i < k; ++i) uninterrupted.step();
    uninterrupted.save(file.path());
    // Made with another seed: everything that matters comes from the file.
    Training resumed = make_run(99);
    resumed.step();
    resumed.load(file.path());
    EXPECT_EQ(resumed.parameters(), uninterrupted.parameters());
    for (int i = k; i < kSteps; ++i)
      EXPECT_EQ(resumed.step(), uninterrupted.step()) << "step " << i << " after a stop at " << k;
    EXPECT_EQ(resumed.parameters(), uninterrupted.parameters());
    int64_t steps = 0;
    resumed.w().ok(mill_optimizer_steps(resumed.optimizer(), &steps, resumed.w().error()));
    EXPECT_EQ(steps, kSteps);
  }
}

TEST_P(Resume, SavingDoesNotDisturbTheRun) {
  const TempFile file;
  Training a = make_run(3);
  Training b = make_run(3);
  for (int i = 0; i < kSteps; ++i) {
    a.save(file.path());
    EXPECT_EQ(a.step(), b.step());
  }
}

TEST_P(Resume, SavingWhatWasLoadedGivesTheSameFile) {
  const TempFile first;
  const TempFile second;
  Training a = make_run(3);
  for (int i = 0; i < 6; ++i) a.step();
  a.save(first.path());
  Training b = make_run(4);
  b.load(first.path());
  b.save(second.path());
  const auto contents = [](const std::string& path) {
    std::FILE* file = std::fopen(path.c_str(), "rb");
    std::vector<char> bytes(std::filesystem::file_size(path));
    const size_t n = std::fread(bytes.data(), 1, bytes.size(), file);
    std::fclose(file);
    bytes.resize(n);
    return bytes;
  };
  EXPECT_EQ(contents(first.path()), contents(second.path()));
}

TEST_P(Resume, AFreshGradientFromBeforeTheLoadDoesNotSurviveIt) {
  const TempFile file;
  Training a = make_run(3);
  a.step();
  a.save(file.path());
  Training b = make_run(3);
  {
    Recording tape(b.w());
    b.w().ok(tape.backward(op::sum(b.w(), b.group()[1])));
  }
  b.load(file.path());
  EXPECT_EQ(a.step(), b.step());
  EXPECT_EQ(a.step(), b.step());
  EXPECT_EQ(a.parameters(), b.parameters());
}

INSTANTIATE_TEST_SUITE_P(Runs, Resume,
                         testing::Values(Config{false, 1}, Config{true, 1}, Config{false, 2}),
                         [](const auto& param) {
                           return std::string(param.param.sgd ? "Sgd" : "AdamW") +
                                  std::to_string(param.param.threads) + "Threads";
                         });

}  // namespace
}  // namespace mill_test
