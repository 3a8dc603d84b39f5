// Measures two programs for the same work in short blocks that take turns, so that whatever else
// runs on the machine hits both. README.md has the rules.
#pragma once

#include <cstdint>
#include <cstdio>
#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace bench {

double now();  // seconds

struct Spread {
  double median = 0;
  double low = 0;   // first quartile
  double high = 0;  // third quartile
  double best = 0;
};
Spread spread_of(std::vector<double> values);

// A thread that runs one thing at a time. Each side has one of its own: thread counts that an
// OpenMP program sets belong to the thread that set them.
class Lane {
 public:
  Lane();
  ~Lane();
  Lane(const Lane&) = delete;
  Lane& operator=(const Lane&) = delete;
  void run(const std::function<void()>& work);  // returns when it is done; rethrows

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// A way to run: `enter` is called on the side's thread before each block and sets what is to be
// measured.
struct Config {
  std::string name;
  std::function<void()> enter;
  double settle = 0.002;  // seconds of rest after a block, until threads that wait by spinning have
                          // gone to sleep
};

struct Side {
  std::string name;
  std::function<void(int64_t)> run;                // that many repetitions
  std::vector<Config> configs;                     // the fastest in a short trial is measured
  std::function<double(int64_t)> timed = nullptr;  // in place of run: returns the seconds that the
                                                   // repetitions took, by a clock of its own
};

struct Case {
  std::string id;    // "A1"
  std::string name;  // what is done
  Side ours;
  Side peer;
  std::function<std::string()> check;  // "" when both computed the same, else how they differ
  double work = 0;                     // per repetition: FLOPs, or bytes
  const char* rate = nullptr;          // "GFLOP/s", "GB/s"; null: times are printed
  double peer_scale = 1;  // the peer's times are multiplied by it: it does a part of the work
  double goal = 0;        // ratio peer / ours that is asked for; 0: none
  double limit = 0;       // seconds that ours may take; 0: none
};

struct Result {
  Spread ours, peer;
  Spread ratio;  // of the pairs of neighbouring blocks
  std::string ours_config, peer_config;
  bool correct = true;
  double others = 0;  // share of all CPU time that other programs took meanwhile
};

struct Options {
  int blocks = 0;        // 0: as many as fit `seconds`, at least 7
  double seconds = 2.0;  // for one case, both sides
  double block = 0.001;  // seconds of one block: short, so that the system seldom takes the CPU
                         // away within one
  double wait =
      0;  // seconds that a case may wait, in all, for other programs to leave the CPUs alone
  std::string only;     // part of an id or name
  std::string json;     // file to which one line a case is appended
  std::string library;  // libmillrace.so
  bool strict = false;  // a missed goal is a failure
};

class Session {
 public:
  explicit Session(Options options);
  const Options& options() const { return options_; }
  bool wanted(const std::string& id, const std::string& name) const;

  Result run(const Case& c);
  // A figure without a peer in the same program. `good`: whether the goal is met.
  void report(const std::string& id, const std::string& name, double value, const char* unit,
              const char* goal, bool good, const std::string& remark = "");
  void heading(const std::string& text, const char* rate = nullptr);

  Lane& ours() { return ours_; }
  Lane& peer() { return peer_; }
  int failures() const { return failures_; }

  // In a trial the case's peer is only timed; the fastest time of each case is kept.
  bool trial = false;
  std::vector<std::pair<std::string, double>> trials;

 private:
  double block_of(Lane& lane, const Side& side, const Config& config, int64_t repetitions);
  size_t choose(Lane& lane, const Side& side, double* best);
  bool measure(const Case& c, Result* out, int* blocks);  // false in a trial
  void line(const std::string& json);

  Options options_;
  Lane ours_;
  Lane peer_;
  int failures_ = 0;
};

// main() of a program that compares with an OpenMP program: how its threads wait is fixed when the
// process starts, so the workload is tried under each policy in a process of its own, and measured
// under the fastest.
struct Workload {
  std::string name;
  std::function<void(Session&)> run;
  bool threads = false;  // the peer uses OpenMP or OpenBLAS threads: policies matter
};
int run_program(int argc, char** argv, const std::vector<Workload>& workloads);

std::string format_time(double seconds);
std::string machine_line();  // CPU, cores, load
// Largest |a - b| / (scale + |b|), as text when above `limit`, else "".
std::string compare_values(const float* a, const float* b, int64_t n, double limit,
                           double scale = 1.0);
void fill_random(float* values, int64_t n, uint64_t seed, float low = -1, float high = 1);

}  // namespace bench
