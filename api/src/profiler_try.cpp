// Applying a finding's fix and measuring what it brings.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <string_view>
#include <vector>

#include "dispatch/trace_op.h"
#include "profiler_handles.h"
#include "profiler_knobs.h"

using namespace mill;       // NOLINT
using namespace mill::api;  // NOLINT

namespace {

struct Plan {
  uint32_t steps;
  uint32_t blocks;
  uint32_t warm_up;
};

uint32_t number(uint32_t given, uint32_t usual, uint32_t most, const char* name) {
  if (given > most)
    fail_argument(MILL_E_ARG, 2, "subject->%s is %u, it must be at most %u", name, given, most);
  return given == 0 ? usual : given;
}

// Runs blocks of steps.
class Trial {
 public:
  Trial(mill_exec& exec, const mill_prof_subject& subject, const Plan& plan, Knob& knob)
      : exec_(exec), subject_(subject), plan_(plan), knob_(knob) {}
  Trial(const Trial&) = delete;
  Trial& operator=(const Trial&) = delete;

  void run() {
    for (uint32_t k = 0; k < plan_.blocks; ++k) {
      // With and without change places from pair to pair, that no drift is taken for a saving.
      const bool first = k % 2 != 0;
      (first ? after : before).push_back(block(first));
      (first ? before : after).push_back(block(!first));
    }
  }
  // After run() has failed. False where that fails too.
  bool take_back() noexcept {
    try {
      knob_.set(false);
      return true;
    } catch (...) {
      return false;
    }
  }
  uint64_t steps() const { return index_; }

  std::vector<double> before;  // nanoseconds of a step, of each block
  std::vector<double> after;

 private:
  // Of a step, in nanoseconds. What it takes until work flows, and until the last of it is done, is
  // in both spans and in neither's difference.
  double block(bool on) {
    knob_.set(on);
    step(knob_.settling());
    idle();
    // While nothing runs batches are made ahead: the steps that use them up are in both spans too.
    const uint32_t warm_up = plan_.warm_up + 2 * knob_.ahead();
    const uint32_t steps = std::max(plan_.steps, 2 * knob_.ahead());
    const uint64_t few = timed(warm_up);
    const uint64_t many = timed(warm_up + steps);
    return (static_cast<double>(many) - static_cast<double>(few)) / steps;
  }
  uint64_t timed(uint32_t steps) {
    const uint64_t began = now();
    step(steps);
    idle();
    return now() - began;
  }
  // Records are stamped with ticks where time is real.
  uint64_t now() const { return exec_.device.modelled() ? exec_.trace.now() : monotonic_ns(); }
  void step(uint32_t times) {
    for (uint32_t k = 0; k < times; ++k) {
      UserError error;
      const uint64_t steps_before = exec_.trace.step_number();
      const mill_status status = subject_.step(subject_.user, index_, error.handle());
      if (status < 0) {
        const char* const said = error.handle()->message;
        fail(status, "step %llu of the trial returned status %d%s%s",
             static_cast<unsigned long long>(index_), status, said[0] != 0 ? ": " : "", said);
      }
      if (exec_.trace.step_number() != steps_before + 1) {
        fail(MILL_E_STATE,
             "step %llu of the trial called mill_trace_step of subject->run_on %llu times, it must "
             "be once",
             static_cast<unsigned long long>(index_),
             static_cast<unsigned long long>(exec_.trace.step_number() - steps_before));
      }
      ++index_;
    }
  }
  void idle() {
    const WaitRecord waiting(exec_.device, MILL_RECORD_SYNC_STREAM, &exec_, exec_.stream->id);
    exec_.stream->wait();
  }

  mill_exec& exec_;
  const mill_prof_subject& subject_;
  const Plan plan_;
  Knob& knob_;
  uint64_t index_ = 0;
};

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  const size_t half = values.size() / 2;
  return values.size() % 2 != 0 ? values[half] : (values[half - 1] + values[half]) / 2;
}

int64_t whole_ns(double ns) {
  return static_cast<int64_t>(std::llround(ns));
}

const char* time_text(int64_t ns, char (&text)[32]) {
  const double size = std::fabs(static_cast<double>(ns));
  const double value = static_cast<double>(ns);
  if (size < 1e4) {
    std::snprintf(text, sizeof text, "%.2f us", value / 1e3);
  } else if (size < 1e7) {
    std::snprintf(text, sizeof text, "%.1f us", value / 1e3);
  } else {
    std::snprintf(text, sizeof text, "%.2f ms", value / 1e6);
  }
  return text;
}

void describe(mill_prof_trial& out) {
  char a[32], b[32], c[32], d[32], e[32], f[32];  // NOLINT(modernize-avoid-c-arrays)
  int n = std::snprintf(out.text, sizeof out.text,
                        "%s = %.0f: predicted to save %s a step (%s to %s), measured %s (%s to %s)",
                        out.knob, out.value, time_text(out.predicted_ns, a),
                        time_text(out.predicted_lower_ns, b), time_text(out.predicted_upper_ns, c),
                        time_text(out.saved_ns, d), time_text(out.saved_lower_ns, e),
                        time_text(out.saved_upper_ns, f));
  if (out.predicted_ns > 0 && n > 0 && static_cast<size_t>(n) < sizeof out.text) {
    const double off =
        100 * (static_cast<double>(out.saved_ns) / static_cast<double>(out.predicted_ns) - 1);
    n += std::snprintf(out.text + n, sizeof out.text - static_cast<size_t>(n), ", %+.1f %%", off);
  }
  if (n > 0 && static_cast<size_t>(n) < sizeof out.text) {
    std::snprintf(out.text + n, sizeof out.text - static_cast<size_t>(n),
                  "; a step went from %s to %s", time_text(out.before_ns, a),
                  time_text(out.after_ns, b));
  }
}

Fix fix_of(const mill_prof_view& view, uint32_t index, const mill_prof_finding& finding) {
  Fix fix{finding.fix ? finding.fix : "", finding.fix_value, 0, 0};
  std::vector<mill_prof_fact> facts(finding.facts);
  const uint32_t n = view.plugin.view_facts(view.self, index, facts.data(), finding.facts);
  facts.resize(std::min(n, finding.facts));
  for (const mill_prof_fact& fact : facts) {
    if (std::string_view(fact.name) == "largest_bytes") fix.largest_bytes = fact.value;
    if (std::string_view(fact.name) == "loader") fix.loader = static_cast<uint64_t>(fact.value);
  }
  return fix;
}

// What was predicted for one device is not measured on another. A file may be of any machine.
void check_place(const mill_prof_view& view, const mill_prof_finding& finding,
                 const mill_exec& exec, const mill_loader* loader) {
  if (loader && &loader->device != &exec.device) {
    fail_argument(MILL_E_DEVICE, 2, "subject->loader feeds %s, subject->run_on is on %s",
                  loader->device.name(), exec.device.name());
  }
  if (!view.live) return;
  if (exec.context.get() != view.context.get())
    fail_argument(MILL_E_DEVICE, 2, "subject->run_on is of another context than the view");
  if (finding.device != UINT32_MAX && finding.device != exec.device.index()) {
    fail_argument(MILL_E_DEVICE, 2, "the finding is about device %u, subject->run_on is on %u",
                  finding.device, exec.device.index());
  }
}

}  // namespace

mill_status mill_prof_try(mill_prof_view* view, uint32_t index, const mill_prof_subject* subject,
                          mill_prof_trial* out_trial, mill_error* err) {
  return guard("mill_prof_try", err, [&] {
    const mill_prof_view& v = need_finding(view, index);
    const mill_prof_subject given =
        read_struct(&need_out(subject, 2, "subject"), MILL_STRUCT_PROF_SUBJECT, "subject", 2);
    need_out(out_trial, 3, "out_trial");
    mill_prof_trial out{};
    // Tells of a struct that is not one before anything runs.
    write_struct(out_trial, MILL_STRUCT_PROF_TRIAL, "out_trial", 3, out);
    if (!given.step) fail_argument(MILL_E_ARG, 2, "subject->step is NULL");
    mill_exec& exec = need(given.run_on, 2, "subject->run_on");
    check_fork(*exec.context);
    mill_loader* const loader = maybe(given.loader, 2, "subject->loader");
    const Plan plan{number(given.steps, 20, 1000000, "steps"),
                    number(given.blocks, 3, 1000, "blocks"),
                    number(given.warm_up, 4, 1000000, "warm_up")};
    // The step may let go of its own references.
    const auto keep_view = Ref<mill_prof_view>::share(view);
    const auto keep_exec = Ref<mill_exec>::share(&exec);
    struct KeepLoader {
      mill_loader* loader;
      ~KeepLoader() { mill_loader_release(loader); }
    } const keep_loader{loader};
    mill_loader_retain(loader);

    mill_prof_finding finding{};
    v.plugin.view_finding(v.self, index, &finding);
    mill_prof_summary summary{};
    v.plugin.view_summary(v.self, &summary);
    const Fix fix = fix_of(v, index, finding);
    if (finding.can_apply == 0) {
      fail_argument(MILL_E_UNSUPPORTED, 1, "finding %u is %s, its fix%s%s is the program's to make",
                    index, finding.rule, fix.knob.empty() ? "" : ", ", finding.fix);
    }
    check_place(v, finding, exec, loader);
    if (v.live && loader && fix.loader != 0 && fix.loader != loader->core.number()) {
      fail_argument(MILL_E_ARG, 2,
                    "subject->loader is loader %llu, finding %u is about loader %llu",
                    static_cast<unsigned long long>(loader->core.number()), index,
                    static_cast<unsigned long long>(fix.loader));
    }
    if (finding.withheld != 0)
      fail(MILL_E_STATE, "what finding %u would save is withheld: %s", index, summary.health_text);
    if (summary.steps == 0)
      fail(MILL_E_STATE, "the view has no steps, so what a step would save is not known");
    const std::unique_ptr<Knob> knob = make_knob(fix, exec, loader);

    Trial trial(exec, given, plan, *knob);
    try {
      trial.run();
    } catch (const Error& error) {
      if (trial.take_back()) throw;
      fail(error.status(), "%s; and the fix %s could not be taken back", error.text(), finding.fix);
    } catch (...) {
      if (trial.take_back()) throw;
      fail(MILL_E_MEMORY, "out of memory; and the fix %s could not be taken back", finding.fix);
    }
    std::vector<double> saved;
    for (size_t k = 0; k < trial.before.size(); ++k)
      saved.push_back(trial.before[k] - trial.after[k]);
    const auto [least, most] = std::minmax_element(saved.begin(), saved.end());
    const bool kept = given.keep != 0 && *least > 0;
    knob->set(kept);

    const auto of_step = [&](int64_t ns) {
      return whole_ns(static_cast<double>(ns) / summary.steps);
    };
    out.knob = finding.fix;
    out.value = knob->value();
    out.predicted_lower_ns = of_step(finding.saving_lower_ns);
    out.predicted_ns = of_step(finding.saving_expected_ns);
    out.predicted_upper_ns = of_step(finding.saving_upper_ns);
    out.before_ns = whole_ns(median(trial.before));
    out.after_ns = whole_ns(median(trial.after));
    out.saved_lower_ns = whole_ns(*least);
    out.saved_ns = whole_ns(median(saved));
    out.saved_upper_ns = whole_ns(*most);
    out.steps = trial.steps();
    out.kept = kept;
    describe(out);
    write_struct(out_trial, MILL_STRUCT_PROF_TRIAL, "out_trial", 3, out);
  });
}
