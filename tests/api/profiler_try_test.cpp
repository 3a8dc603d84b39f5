// Fixes that Millrace applies by itself, and the call that tries them: what was predicted beside
// what was measured, on a simulated device.
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <string>
#include <vector>

#include "api/refusal.h"
#include "conformance/api.h"

namespace mill_test {
namespace {

// ---- reads that come late ----------------------------------------------------------------------

class LateReads : public BadInput {
 protected:
  void SetUp() override {
    BadInput::SetUp();
    ASSERT_EQ(mill_device_open(f.context(), "sim:h200-sxm,gemm=1", MILL_NTS, &device_, f.err()),
              MILL_OK)
        << f.message();
    ASSERT_EQ(mill_exec_create(f.context(), device_, nullptr, &exec_, f.err()), MILL_OK);
    f.own(exec_);
  }
  mill_tensor* filled(double value, mill_dtype dtype = MILL_F32, int64_t count = 1) {
    mill_tensor* out = nullptr;
    EXPECT_EQ(mill_fill(exec_, &count, 1, dtype, value, &out, f.err()), MILL_OK) << f.message();
    return f.own(out);
  }
  double item(double value, mill_dtype dtype = MILL_F32) {
    double out = -1;
    EXPECT_EQ(mill_tensor_item(exec_, filled(value, dtype), &out, f.err()), MILL_OK) << f.message();
    return out;
  }
  void step() { ASSERT_EQ(mill_trace_step(exec_, f.err()), MILL_OK); }
  std::vector<double> items_of_steps(int steps) {
    std::vector<double> out;
    for (int k = 0; k < steps; ++k) {
      out.push_back(item(k));
      step();
    }
    return out;
  }
  void set(uint32_t steps) {
    ASSERT_EQ(mill_exec_set_late_reads(exec_, steps, f.err()), MILL_OK) << f.message();
  }
  int64_t now() {
    int64_t out = 0;
    EXPECT_EQ(mill_device_now(f.context(), device_, &out, f.err()), MILL_OK);
    return out;
  }

  uint32_t device_ = 0;
  mill_exec* exec_ = nullptr;
};

TEST_F(LateReads, AnswerWithTheValueOfSoManyStepsBefore) {
  EXPECT_EQ(items_of_steps(3), (std::vector<double>{0, 1, 2}));
  set(1);
  EXPECT_EQ(items_of_steps(5), (std::vector<double>{0, 0, 1, 2, 3}));
  set(3);
  EXPECT_EQ(items_of_steps(6), (std::vector<double>{0, 1, 2, 0, 1, 2}));
  set(0);
  EXPECT_EQ(items_of_steps(2), (std::vector<double>{0, 1}));
}

TEST_F(LateReads, TellTheReadsOfAStepApartByTheirOrder) {
  set(1);
  for (int k = 0; k < 4; ++k) {
    const double late = k == 0 ? 0 : k - 1;
    EXPECT_EQ(item(k), late);
    EXPECT_EQ(item(100 + k), 100 + late);
    float values[2] = {};
    ASSERT_EQ(mill_tensor_read(exec_, filled(200 + k, MILL_F32, 2), values, 8, f.err()), MILL_OK);
    EXPECT_EQ(values[1], 200 + late);
    step();
  }
}

TEST_F(LateReads, AnswerWithTheirOwnValueWhereNothingLikeItWasAskedFor) {
  set(1);
  EXPECT_EQ(item(1), 1);
  step();
  EXPECT_EQ(item(2, MILL_F64), 2);  // another dtype
  step();
  step();  // a step without a read
  EXPECT_EQ(item(3, MILL_F64), 3);
  step();
  EXPECT_EQ(item(4, MILL_F64), 3);
  // No step ends: each read is another one, and after 64 of them none is remembered.
  set(1);
  for (int k = 0; k < 130; ++k) EXPECT_EQ(item(k), k);
  step();
  for (int k = 0; k < 130; ++k) EXPECT_EQ(item(1000 + k), k < 64 ? k : 1000 + k);
}

TEST_F(LateReads, LeaveLargeReadsAndTheCpuAlone) {
  set(1);
  std::vector<float> large(257);  // 1,028 bytes
  std::vector<float> fits(256);
  for (int k = 0; k < 3; ++k) {
    ASSERT_EQ(mill_tensor_read(exec_, filled(k, MILL_F32, 257), large.data(), 1028, f.err()),
              MILL_OK);
    EXPECT_EQ(large[256], k);
    ASSERT_EQ(mill_tensor_read(exec_, filled(k, MILL_F32, 256), fits.data(), 1024, f.err()),
              MILL_OK);
    EXPECT_EQ(fits[255], k == 0 ? 0 : k - 1);
    step();
  }
  exec_ = f.exec();
  set(2);
  EXPECT_EQ(items_of_steps(4), (std::vector<double>{0, 1, 2, 3}));
}

TEST_F(LateReads, DoNotWaitForTheStepThatHasJustBegun) {
  const int64_t dims[2] = {4096, 4096};
  mill_tensor* big = nullptr;
  ASSERT_EQ(mill_fill(exec_, dims, 2, MILL_F32, 1, &big, f.err()), MILL_OK);
  f.own(big);
  // Of each step, how long the host was in the read.
  const auto waits = [&] {
    std::vector<int64_t> out;
    for (int k = 0; k < 3; ++k) {
      mill_tensor* product = nullptr;
      EXPECT_EQ(mill_relu(exec_, big, &product, f.err()), MILL_OK) << f.message();
      f.own(product);
      mill_tensor* const value = filled(k);
      double seen = 0;
      const int64_t before = now();
      EXPECT_EQ(mill_tensor_item(exec_, value, &seen, f.err()), MILL_OK);
      out.push_back(now() - before);
      step();
    }
    return out;
  };
  const std::vector<int64_t> at_once = waits();
  set(1);
  const std::vector<int64_t> late = waits();
  // 128 MiB through 4.8 TB/s take 28 us.
  EXPECT_GT(at_once[2], 25000);
  EXPECT_GT(late[0], 25000);
  EXPECT_LT(late[1], 25000);
  EXPECT_LT(late[2], at_once[2]);
}

TEST_F(LateReads, RefuseMoreStepsThanThereCanBe) {
  expect_refused(f, mill_exec_set_late_reads(exec_, 9, f.err()), MILL_E_ARG, {"steps", "9", "8"});
}

// ---- trials ------------------------------------------------------------------------------------

constexpr int64_t kRows = 512;
constexpr int64_t kInputs = 1024;
constexpr int64_t kBatches = 32;
constexpr int64_t kHidden = 1024;

// A network of one layer whose step does one thing wrong.
struct Subject {
  World w;
  uint32_t device = 0;
  Exec exec;
  Tensor weights, inputs, labels;
  Loader loader;
  bool pageable = false;
  bool reads = false;
  bool resend = false;
  bool waits = false;
  int layers = 1;
  uint64_t fail_at = UINT64_MAX;
  uint64_t calls = 0;
  uint64_t last_index = 0;

  explicit Subject(const char* spec = "sim:h200-sxm,gemm=1") {
    w.ok(mill_device_open(w.context(), spec, MILL_NTS, &device, w.error()));
    w.ok(mill_exec_create(w.context(), device, nullptr, exec.out(), w.error()));
    const int64_t shape[2] = {kHidden, kInputs};
    const int64_t rows[2] = {kRows * kBatches, kInputs};
    w.ok(mill_fill(exec.get(), shape, 2, MILL_F32, 0.01, weights.out(), w.error()));
    w.ok(mill_fill(w.exec(), rows, 2, MILL_F32, 0.5, inputs.out(), w.error()));
  }
  void make_loader() {
    mill_loader_opts opts{};
    opts.size = sizeof opts;
    opts.type = MILL_STRUCT_LOADER_OPTS;
    opts.batch = kRows;
    opts.device = device;
    mill_tensor* columns[1] = {inputs.get()};
    w.ok(mill_loader_create(w.context(), columns, 1, &opts, loader.out(), w.error()));
  }
  Tensor next(uint64_t index) {
    Tensor batch;
    if (loader) {
      mill_status status = mill_loader_next(loader.get(), exec.get(), batch.out(), 1, w.error());
      if (status == MILL_END)
        status = mill_loader_next(loader.get(), exec.get(), batch.out(), 1, w.error());
      w.ok(status);
      return batch;
    }
    const int64_t dims[2] = {kRows, kInputs};
    const int64_t strides[2] = {kInputs, 1};
    Tensor rows;
    const auto first = static_cast<int64_t>(index % kBatches) * kRows * kInputs;
    w.ok(mill_tensor_view(inputs.get(), dims, strides, 2, first, rows.out(), w.error()));
    w.ok(mill_tensor_to(exec.get(), rows.get(), batch.out(), w.error()));
    return batch;
  }
  mill_status step(uint64_t index, mill_error* err) {
    ++calls;
    last_index = index;
    if (index == fail_at) {
      mill_error_set(err, MILL_E_USER - 3, "the cat walked over the keyboard");
      return MILL_E_USER - 3;
    }

    Tensor batch = pageable || loader ? next(index) : Tensor();
    if (!batch) {
      const int64_t dims[2] = {kRows, kInputs};
      w.ok(mill_fill(exec.get(), dims, 2, MILL_F32, 0.5, batch.out(), w.error()));
    }
    Tensor sent;
    if (resend) w.ok(mill_tensor_to(exec.get(), inputs.get(), sent.out(), w.error()));
    Tensor out, sum;
    w.ok(mill_linear(exec.get(), batch.get(), weights.get(), nullptr, out.out(), w.error()));
    for (int k = 1; k < layers; ++k) {
      Tensor next_out;
      w.ok(mill_linear(exec.get(), out.get(), weights.get(), nullptr, next_out.out(), w.error()));
      out = std::move(next_out);
    }
    w.ok(mill_sum(exec.get(), out.get(), nullptr, 0, 0, sum.out(), w.error()));
    if (reads) {
      double value = 0;
      w.ok(mill_tensor_item(exec.get(), sum.get(), &value, w.error()));
      w.ok(mill_device_charge(w.context(), device, 40000, w.error()));  // and looks at it
    }
    if (waits) w.ok(mill_exec_wait(exec.get(), w.error()));
    w.ok(mill_trace_step(exec.get(), w.error()));
    return MILL_OK;
  }
  static mill_status run(void* user, uint64_t index, mill_error* err) {
    return static_cast<Subject*>(user)->step(index, err);
  }
};

class Try : public ::testing::Test {
 protected:
  // What a session sees of some steps.
  mill_prof_view* watch(Subject& s, int steps = 24) {
    mill_prof* prof = nullptr;
    mill_prof_view* view = nullptr;
    s.w.ok(mill_prof_create(s.w.context(), nullptr, &prof, s.w.error()));
    s.w.ok(mill_prof_start(prof, s.w.error()));
    for (int k = 0; k < steps; ++k) s.step(static_cast<uint64_t>(k), s.w.error());
    s.w.ok(mill_exec_wait(s.exec.get(), s.w.error()));
    s.w.ok(mill_prof_stop(prof, s.w.error()));
    s.w.ok(mill_prof_snapshot(prof, &view, s.w.error()));
    mill_prof_release(prof);
    return view;
  }
  static mill_prof_finding finding(Subject& s, mill_prof_view* view, uint32_t index) {
    mill_prof_finding out{};
    out.size = sizeof out;
    out.type = MILL_STRUCT_PROF_FINDING;
    s.w.ok(mill_prof_finding_query(view, index, &out, s.w.error()));
    return out;
  }
  static mill_prof_subject subject(Subject& s) {
    mill_prof_subject out{};
    out.size = sizeof out;
    out.type = MILL_STRUCT_PROF_SUBJECT;
    out.run_on = s.exec.get();
    out.loader = s.loader.get();
    out.step = Subject::run;
    out.user = &s;
    out.steps = 6;
    out.blocks = 2;
    return out;
  }
  static mill_prof_trial blank() {
    mill_prof_trial out{};
    out.size = sizeof out;
    out.type = MILL_STRUCT_PROF_TRIAL;
    return out;
  }
  // Finds `knob` first, tries it, and wants to see what was predicted, within 10 %.
  void expect_kept_promise(Subject& s, const char* knob) {
    mill_prof_view* const view = watch(s);
    const mill_prof_finding first = finding(s, view, 0);
    EXPECT_STREQ(first.fix, knob) << first.rule << ": " << first.title << "\n" << first.advice;
    EXPECT_NE(first.can_apply, 0);
    mill_prof_subject given = subject(s);
    mill_prof_trial trial = blank();
    s.calls = 0;
    ASSERT_EQ(mill_prof_try(view, 0, &given, &trial, s.w.error()), MILL_OK)
        << mill_error_message(s.w.error());
    std::printf("%s\n", trial.text);
    EXPECT_STREQ(trial.knob, knob);
    EXPECT_GT(trial.predicted_ns, 0);
    EXPECT_NEAR(static_cast<double>(trial.saved_ns), static_cast<double>(trial.predicted_ns),
                0.1 * static_cast<double>(trial.predicted_ns))
        << trial.text;
    EXPECT_LE(trial.saved_lower_ns, trial.saved_ns);
    EXPECT_GE(trial.saved_upper_ns, trial.saved_ns);
    EXPECT_NEAR(static_cast<double>(trial.before_ns - trial.after_ns),
                static_cast<double>(trial.saved_ns), 0.05 * static_cast<double>(trial.saved_ns));
    // Two blocks of each kind, 4 and 4 + 6 steps in each, and some to settle.
    EXPECT_GT(trial.steps, 56u);
    EXPECT_EQ(s.calls, trial.steps);
    EXPECT_EQ(s.last_index, trial.steps - 1);
    EXPECT_EQ(trial.kept, 0);
    EXPECT_NE(std::string(trial.text).find(knob), std::string::npos);

    // Everything is as it was, so that a second trial sees the same; and then it stays.
    given.keep = 1;
    given.blocks = 1;
    mill_prof_trial again = blank();
    ASSERT_EQ(mill_prof_try(view, 0, &given, &again, s.w.error()), MILL_OK);
    EXPECT_NEAR(static_cast<double>(again.before_ns), static_cast<double>(trial.before_ns),
                0.02 * static_cast<double>(trial.before_ns));
    EXPECT_NE(again.kept, 0);
    mill_prof_view_release(view);
    mill_prof_view* const mended = watch(s);
    mill_prof_summary summary{};
    summary.size = sizeof summary;
    summary.type = MILL_STRUCT_PROF_SUMMARY;
    s.w.ok(mill_prof_view_summary(mended, &summary, s.w.error()));
    EXPECT_NEAR(static_cast<double>(summary.step_ns), static_cast<double>(again.after_ns),
                0.1 * static_cast<double>(again.after_ns));
    mill_prof_view_release(mended);
  }
};

TEST_F(Try, StagesCopiesFromOrdinaryMemoryAndSavesWhatWasPredicted) {
  Subject s;
  s.pageable = true;
  s.layers = 8;  // 170 us, about as long as the host needs to copy a batch
  expect_kept_promise(s, "pinned_staging");
}

TEST_F(Try, ReadsAValueOneStepLateAndSavesWhatWasPredicted) {
  Subject s;
  s.reads = true;
  expect_kept_promise(s, "defer_read");
}

TEST_F(Try, LetsALoaderWorkAheadAndSavesWhatWasPredicted) {
  Subject s;
  s.make_loader();
  s.layers = 6;
  expect_kept_promise(s, "loader_workers");
}

// The finding is of the loader that the program waits for.
TEST_F(Try, RefusesAnotherLoaderThanTheFindings) {
  Subject s;
  s.make_loader();
  Loader first = std::move(s.loader);
  s.make_loader();
  s.layers = 6;
  mill_prof_view* const view = watch(s);
  EXPECT_STREQ(finding(s, view, 0).fix, "loader_workers");
  mill_prof_subject given = subject(s);
  given.loader = first.get();
  mill_prof_trial trial = blank();
  s.calls = 0;
  EXPECT_EQ(mill_prof_try(view, 0, &given, &trial, s.w.error()), MILL_E_ARG);
  const std::string text = mill_error_message(s.w.error());
  EXPECT_NE(text.find("subject->loader is loader "), std::string::npos) << text;
  EXPECT_NE(text.find("finding 0 is about loader "), std::string::npos) << text;
  EXPECT_EQ(s.calls, 0u);
  given.loader = s.loader.get();
  EXPECT_EQ(mill_prof_try(view, 0, &given, &trial, s.w.error()), MILL_OK)
      << mill_error_message(s.w.error());
  mill_prof_view_release(view);
}

TEST_F(Try, TellsWhatIsTheProgramsToMend) {
  Subject s;
  s.resend = true;
  mill_prof_view* const view = watch(s);
  const mill_prof_finding first = finding(s, view, 0);
  EXPECT_STREQ(first.rule, "T6") << first.title;
  EXPECT_EQ(first.can_apply, 0);
  mill_prof_subject given = subject(s);
  mill_prof_trial trial = blank();
  s.calls = 0;
  EXPECT_EQ(mill_prof_try(view, 0, &given, &trial, s.w.error()), MILL_E_UNSUPPORTED);
  const std::string text = mill_error_message(s.w.error());
  EXPECT_NE(text.find("keep_resident"), std::string::npos) << text;
  EXPECT_EQ(s.calls, 0u);
  mill_prof_view_release(view);
}

TEST_F(Try, TakesTheFixBackWhenTheStepFails) {
  Subject s;
  s.reads = true;
  mill_prof_view* const view = watch(s);
  mill_prof_subject given = subject(s);
  mill_prof_trial trial = blank();
  s.fail_at = 2 * 16 - 1;  // the last step of the first block with the fix
  EXPECT_EQ(mill_prof_try(view, 0, &given, &trial, s.w.error()), MILL_E_USER - 3);
  const std::string text = mill_error_message(s.w.error());
  EXPECT_NE(text.find("step 31"), std::string::npos) << text;
  EXPECT_NE(text.find("the cat walked"), std::string::npos) << text;
  EXPECT_EQ(s.calls > 0 ? s.last_index : 0, 31u);
  // A value of its own step, not of the step before.
  for (int k = 0; k < 3; ++k) {
    const int64_t one = 1;
    Tensor value;
    double seen = -1;
    s.w.ok(mill_fill(s.exec.get(), &one, 1, MILL_F32, k, value.out(), s.w.error()));
    s.w.ok(mill_tensor_item(s.exec.get(), value.get(), &seen, s.w.error()));
    EXPECT_EQ(seen, k);
    s.w.ok(mill_trace_step(s.exec.get(), s.w.error()));
  }
  mill_prof_view_release(view);
}

TEST_F(Try, WantsOneStepToBeOneStepOfTheTrace) {
  Subject s;
  s.reads = true;
  mill_prof_view* const view = watch(s);
  mill_prof_subject given = subject(s);
  mill_prof_trial trial = blank();
  given.step = [](void* user, uint64_t index, mill_error* err) {
    auto& of = *static_cast<Subject*>(user);
    const mill_status status = of.step(index, err);
    return status < 0 ? status : mill_trace_step(of.exec.get(), err);
  };
  EXPECT_EQ(mill_prof_try(view, 0, &given, &trial, s.w.error()), MILL_E_STATE);
  const std::string text = mill_error_message(s.w.error());
  EXPECT_NE(text.find("mill_trace_step of subject->run_on 2 times"), std::string::npos) << text;
  mill_prof_view_release(view);
}

// On a device in real time, of a finding from a file: the same spans as the step itself sees them.
TEST_F(Try, MeasuresInNanosecondsWhereTimeIsReal) {
  Subject modelled;
  modelled.reads = true;
  mill_prof_view* const seen = watch(modelled);
  const std::string path = ::testing::TempDir() + "try_" + std::to_string(::getpid()) + ".json";
  modelled.w.ok(mill_prof_export_file(seen, MILL_PROF_FORMAT_CHROME, "", path.c_str(), MILL_NTS,
                                      modelled.w.error()));
  mill_prof_view_release(seen);

  Subject s("sim:h200-sxm,async=1");
  mill_prof* file = nullptr;
  mill_prof_view* view = nullptr;
  s.w.ok(mill_prof_open(s.w.context(), path.c_str(), MILL_NTS, nullptr, &file, s.w.error()));
  std::remove(path.c_str());
  s.w.ok(mill_prof_snapshot(file, &view, s.w.error()));
  mill_prof_release(file);
  struct Stamps {
    mill_exec* exec;
    std::vector<int64_t> ns;
    static mill_status step(void* user, uint64_t, mill_error* err) {
      auto& self = *static_cast<Stamps*>(user);
      timespec now{};
      clock_gettime(CLOCK_MONOTONIC, &now);
      self.ns.push_back(now.tv_sec * 1'000'000'000 + now.tv_nsec);
      const timespec some{0, 3'000'000};
      nanosleep(&some, nullptr);
      return mill_trace_step(self.exec, err);
    }
  } stamps{s.exec.get(), {}};
  mill_prof_subject given = subject(s);
  given.step = Stamps::step;
  given.user = &stamps;
  given.blocks = 1;
  mill_prof_trial trial = blank();
  ASSERT_EQ(mill_prof_try(view, 0, &given, &trial, s.w.error()), MILL_OK)
      << mill_error_message(s.w.error());
  // 2 steps to settle, 4, and 4 + 6: of the block without the fix, which comes first.
  ASSERT_EQ(stamps.ns.size(), 32u);
  const auto few = static_cast<double>(stamps.ns[6] - stamps.ns[2]);
  const auto many = static_cast<double>(stamps.ns[16] - stamps.ns[6]);
  // A machine that stalls in the shorter part makes the difference negative, for both.
  const double want = (many - few) / 6;
  EXPECT_NEAR(static_cast<double>(trial.before_ns), want, std::max(1e6, 0.3 * std::fabs(want)));
  mill_prof_view_release(view);
}

TEST_F(Try, RefusesASubjectThatCannotBeTried) {
  Subject s;
  s.reads = true;
  mill_prof_view* const view = watch(s);
  s.calls = 0;
  mill_prof_trial trial = blank();
  const auto refused = [&](mill_status want, const std::vector<const char*>& words, auto&& change,
                           uint32_t index = 0) {
    mill_prof_subject given = subject(s);
    change(given);
    EXPECT_EQ(mill_prof_try(view, index, &given, &trial, s.w.error()), want);
    const std::string text = mill_error_message(s.w.error());
    for (const char* word : words) EXPECT_NE(text.find(word), std::string::npos) << text;
  };
  const auto nothing = [](mill_prof_subject&) {};
  refused(MILL_E_ARG, {"step is NULL"}, [](mill_prof_subject& g) { g.step = nullptr; });
  refused(MILL_E_ARG, {"run_on is NULL"}, [](mill_prof_subject& g) { g.run_on = nullptr; });
  refused(MILL_E_BAD_HANDLE, {"subject->run_on"},
          [&](mill_prof_subject& g) { g.run_on = reinterpret_cast<mill_exec*>(view); });
  refused(MILL_E_BAD_HANDLE, {"subject->loader"},
          [&](mill_prof_subject& g) { g.loader = reinterpret_cast<mill_loader*>(view); });
  refused(MILL_E_ARG, {"steps is 1000001", "1000000"},
          [](mill_prof_subject& g) { g.steps = 1000001; });
  refused(MILL_E_ARG, {"blocks is 1001", "1000"}, [](mill_prof_subject& g) { g.blocks = 1001; });
  refused(MILL_E_ARG, {"warm_up is 1000001"}, [](mill_prof_subject& g) { g.warm_up = 1000001; });
  refused(MILL_E_DEVICE, {"device 1", "on 0"},
          [&](mill_prof_subject& g) { g.run_on = s.w.exec(); });
  refused(MILL_E_ARG, {"index is 1000"}, nothing, 1000);
  EXPECT_EQ(mill_prof_try(view, 0, nullptr, &trial, s.w.error()), MILL_E_ARG);
  mill_prof_subject given = subject(s);
  EXPECT_EQ(mill_prof_try(view, 0, &given, nullptr, s.w.error()), MILL_E_ARG);
  trial.type = 0;
  EXPECT_EQ(mill_prof_try(view, 0, &given, &trial, s.w.error()), MILL_E_ARG);
  EXPECT_EQ(s.calls, 0u);
  mill_prof_view_release(view);
}

}  // namespace
}  // namespace mill_test
