#include "bench/common.h"

#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <condition_variable>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <mutex>
#include <stdexcept>
#include <thread>

namespace bench {

double now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

Spread spread_of(std::vector<double> values) {
  Spread out;
  if (values.empty()) return out;
  std::sort(values.begin(), values.end());
  const auto at = [&](double part) {
    const double place = part * static_cast<double>(values.size() - 1);
    const auto below = static_cast<size_t>(place);
    const size_t above = std::min(below + 1, values.size() - 1);
    return values[below] + (place - static_cast<double>(below)) * (values[above] - values[below]);
  };
  out.median = at(0.5);
  out.low = at(0.25);
  out.high = at(0.75);
  out.best = values.front();
  return out;
}

struct Lane::State {
  std::mutex mutex;
  std::condition_variable changed;
  const std::function<void()>* work = nullptr;
  std::exception_ptr failure;
  bool done = false;
  bool ending = false;
  std::thread thread;

  void loop() {
    std::unique_lock lock(mutex);
    for (;;) {
      changed.wait(lock, [&] { return work || ending; });
      if (ending) return;
      lock.unlock();
      std::exception_ptr caught;
      try {
        (*work)();
      } catch (...) {
        caught = std::current_exception();
      }
      lock.lock();
      failure = caught;
      work = nullptr;
      done = true;
      changed.notify_all();
    }
  }
};

Lane::Lane() : state_(std::make_unique<State>()) {
  state_->thread = std::thread([state = state_.get()] { state->loop(); });
}

Lane::~Lane() {
  {
    const std::lock_guard lock(state_->mutex);
    state_->ending = true;
  }
  state_->changed.notify_all();
  state_->thread.join();
}

void Lane::run(const std::function<void()>& work) {
  std::unique_lock lock(state_->mutex);
  state_->work = &work;
  state_->done = false;
  state_->changed.notify_all();
  state_->changed.wait(lock, [&] { return state_->done; });
  if (state_->failure) std::rethrow_exception(state_->failure);
}

namespace {

void rest(double seconds) {
  std::this_thread::sleep_for(std::chrono::duration<double>(seconds));
}

std::string number(double value) {
  char text[40];
  std::snprintf(text, sizeof text, "%.6g", value);
  return text;
}

std::string quoted(const std::string& text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') out += '\\';
    out += c;
  }
  return out + "\"";
}

const Config& config_of(const Side& side, size_t k) {
  static const Config plain{"", nullptr, 0.002};
  return side.configs.empty() ? plain : side.configs[k];
}

}  // namespace

std::string format_time(double seconds) {
  char text[32];
  if (seconds < 1e-6) {
    std::snprintf(text, sizeof text, "%.1f ns", seconds * 1e9);
  } else if (seconds < 1e-3) {
    std::snprintf(text, sizeof text, "%.3f us", seconds * 1e6);
  } else {
    std::snprintf(text, sizeof text, "%.3f ms", seconds * 1e3);
  }
  return text;
}

std::string machine_line() {
  std::string model = "unknown CPU";
  if (FILE* file = std::fopen("/proc/cpuinfo", "r")) {
    char line[512];
    while (std::fgets(line, sizeof line, file)) {
      if (std::strncmp(line, "model name", 10) != 0) continue;
      if (const char* at = std::strchr(line, ':')) {
        model = at + 2;
        while (!model.empty() && (model.back() == '\n' || model.back() == ' ')) model.pop_back();
      }
      break;
    }
    std::fclose(file);
  }
  double load[3] = {};
  if (getloadavg(load, 3) < 1) load[0] = -1;
  char text[640];
  std::snprintf(text, sizeof text, "%s, %u CPUs, load %.1f", model.c_str(),
                std::thread::hardware_concurrency(), load[0]);
  return text;
}

std::string compare_values(const float* a, const float* b, int64_t n, double limit, double scale) {
  double worst = 0;
  int64_t where = 0;
  for (int64_t i = 0; i < n; ++i) {
    const double x = static_cast<double>(a[i]);
    const double y = static_cast<double>(b[i]);
    double error = std::fabs(x - y) / (scale + std::fabs(y));
    if (std::isnan(error)) error = INFINITY;
    if (error > worst) {
      worst = error;
      where = i;
    }
  }
  if (worst <= limit) return "";
  char text[160];
  std::snprintf(text, sizeof text,
                "element %lld is %g, the peer's is %g (error %.2g, allowed %.2g)",
                static_cast<long long>(where), static_cast<double>(a[where]),
                static_cast<double>(b[where]), worst, limit);
  return text;
}

void fill_random(float* values, int64_t n, uint64_t seed, float low, float high) {
  uint64_t state = seed * 0x9e3779b97f4a7c15u + 1;
  for (int64_t i = 0; i < n; ++i) {
    // xorshift64* (Marsaglia, 2003; Vigna, 2016)
    state ^= state >> 12;
    state ^= state << 25;
    state ^= state >> 27;
    const uint64_t bits = (state * 0x2545f4914f6cdd1du) >> 40;
    values[i] = low + (high - low) * static_cast<float>(bits) / 16777216.0f;
  }
}

namespace {

// CPU seconds of the whole machine since it started, and of this process and its ended children.
struct CpuTime {
  double busy = 0;
  double all = 0;
  double own = 0;

  static CpuTime now() {
    CpuTime out;
    if (FILE* file = std::fopen("/proc/stat", "r")) {
      double t[8] = {};
      if (std::fscanf(file, "cpu %lf %lf %lf %lf %lf %lf %lf %lf", t, t + 1, t + 2, t + 3, t + 4,
                      t + 5, t + 6, t + 7) == 8) {
        for (const double ticks : t) out.all += ticks;
        out.busy = out.all - t[3] - t[4];
      }
      std::fclose(file);
    }
    const double tick = 1.0 / static_cast<double>(sysconf(_SC_CLK_TCK));
    out.busy *= tick;
    out.all *= tick;
    for (const auto who : {RUSAGE_SELF, RUSAGE_CHILDREN}) {
      rusage usage{};
      getrusage(who, &usage);
      for (const timeval& t : {usage.ru_utime, usage.ru_stime}) {
        out.own += static_cast<double>(t.tv_sec) + 1e-6 * static_cast<double>(t.tv_usec);
      }
    }
    return out;
  }
};

double others_between(const CpuTime& a, const CpuTime& b) {
  if (b.all <= a.all) return 0;
  return std::max(0.0, (b.busy - a.busy - (b.own - a.own)) / (b.all - a.all));
}

constexpr double kQuiet = 0.05;

// Waits until other programs use next to nothing; false when `end` comes first.
bool await_quiet(double end) {
  for (;;) {
    const CpuTime before = CpuTime::now();
    rest(0.3);
    if (others_between(before, CpuTime::now()) < kQuiet) return true;
    if (now() > end) return false;
  }
}

}  // namespace

Session::Session(Options options) : options_(std::move(options)) {}

bool Session::wanted(const std::string& id, const std::string& name) const {
  return options_.only.empty() || id == options_.only ||
         (id + " " + name).find(options_.only) != std::string::npos;
}

double Session::block_of(Lane& lane, const Side& side, const Config& config, int64_t repetitions) {
  double took = 0;
  lane.run([&] {
    if (config.enter) config.enter();
    if (side.timed) {
      took = side.timed(repetitions);
      return;
    }
    if (repetitions > 1) side.run(1);  // wakes what went to sleep
    const double begin = now();
    side.run(repetitions);
    took = now() - begin;
  });
  return took / static_cast<double>(repetitions);
}

// The fastest configuration by the lower quartile of nine short blocks each, taken in turns. What
// takes seconds gets two, and only where it is not far behind already.
size_t Session::choose(Lane& lane, const Side& side, double* best) {
  constexpr double kSlow = 0.2;
  const size_t n = std::max<size_t>(side.configs.size(), 1);
  std::vector<std::vector<double>> times(n);
  std::vector<int64_t> repetitions(n, 1);
  std::vector<double> once(n);
  double fastest = 1e300;
  for (size_t k = 0; k < n; ++k) {
    // Caches, lazy initialisation.
    const double first = block_of(lane, side, config_of(side, k), 1);
    once[k] = block_of(lane, side, config_of(side, k), first > kSlow ? 1 : 2);
    fastest = std::min(fastest, once[k]);
    repetitions[k] =
        std::max<int64_t>(1, static_cast<int64_t>(options_.block / std::max(once[k], 1e-9)));
  }
  const bool slow = fastest > kSlow;
  for (int round = 0; round < (slow ? 2 : 9); ++round) {
    for (size_t k = 0; k < n; ++k) {
      if (slow && round == 0) times[k].push_back(once[k]);
      if (slow && once[k] > 1.3 * fastest) continue;
      times[k].push_back(block_of(lane, side, config_of(side, k), repetitions[k]));
      rest(config_of(side, k).settle);
    }
  }
  size_t chosen = 0;
  for (size_t k = 1; k < n; ++k) {
    if (spread_of(times[k]).low < spread_of(times[chosen]).low) chosen = k;
  }
  if (best) *best = spread_of(times[chosen]).low;
  return chosen;
}

bool Session::measure(const Case& c, Result* result, int* blocks_done) {
  Result& out = *result;
  out = Result();
  double peer_trial = 0;
  const CpuTime before = CpuTime::now();
  const size_t peer_at = choose(peer_, c.peer, &peer_trial);
  if (trial) {
    trials.emplace_back(c.id + " " + c.name, peer_trial);
    return false;
  }
  double ours_trial = 0;
  const size_t ours_at = choose(ours_, c.ours, &ours_trial);
  const Config& ours = config_of(c.ours, ours_at);
  const Config& peer = config_of(c.peer, peer_at);
  out.ours_config = ours.name;
  out.peer_config = peer.name;
  const auto repetitions = [&](double once) {
    return std::max<int64_t>(1, static_cast<int64_t>(options_.block / std::max(once, 1e-9)));
  };
  const int64_t ours_n = repetitions(ours_trial);
  const int64_t peer_n = repetitions(peer_trial);
  const double pair = static_cast<double>(ours_n) * ours_trial +
                      static_cast<double>(peer_n) * peer_trial + ours.settle + peer.settle;
  int blocks = options_.blocks;
  if (blocks == 0) blocks = static_cast<int>(std::clamp(options_.seconds / pair, 9.0, 201.0));
  std::vector<double> ours_times, peer_times, ratios;
  for (int k = 0; k < blocks; ++k) {
    double a = 0;
    double b = 0;
    for (int half = 0; half < 2; ++half) {
      if ((half == 0) == (k % 2 == 0)) {
        a = block_of(ours_, c.ours, ours, ours_n);
        rest(ours.settle);
      } else {
        b = block_of(peer_, c.peer, peer, peer_n);
        rest(peer.settle);
      }
    }
    ours_times.push_back(a);
    peer_times.push_back(b * c.peer_scale);
    ratios.push_back(b * c.peer_scale / a);
  }
  out.ours = spread_of(ours_times);
  out.peer = spread_of(peer_times);
  out.ratio = spread_of(ratios);
  out.others = others_between(before, CpuTime::now());
  *blocks_done = blocks;
  return true;
}

Result Session::run(const Case& c) {
  Result out;
  if (!wanted(c.id, c.name)) return out;
  int blocks = 0;
  const double end = now() + options_.wait;
  // Once more if others came in between, while there is time.
  do {
    if (options_.wait > 0) await_quiet(end);
    if (!measure(c, &out, &blocks)) return out;
  } while (out.others > kQuiet && now() < end);
  const std::string wrong = c.check ? c.check() : "";
  out.correct = wrong.empty();

  const double ratio = out.peer.median / out.ours.median;
  const double best_ratio = out.peer.best / out.ours.best;
  const auto shown = [&](double seconds) {
    if (!c.rate) return format_time(seconds);
    char text[32];
    std::snprintf(text, sizeof text, "%.1f", c.work / seconds * 1e-9);
    return std::string(text);
  };
  std::string verdict;
  if (c.goal > 0) verdict = ratio >= c.goal ? "ok" : "MISS";
  if (c.limit > 0 && out.ours.median > c.limit) verdict = "MISS";
  if (!out.correct) verdict = "WRONG";
  char goal[32] = "";
  if (c.goal > 0) std::snprintf(goal, sizeof goal, "%.2fx", c.goal);
  if (c.limit > 0) std::snprintf(goal, sizeof goal, "<= %s", format_time(c.limit).c_str());
  const auto spread = [&](const Spread& times) {
    return "[" + shown(c.rate ? times.high : times.low) + " .. " +
           shown(c.rate ? times.low : times.high) + "]";
  };
  char ratios_text[64];
  std::snprintf(ratios_text, sizeof ratios_text, "%.2fx [%.2f .. %.2f]", ratio, out.ratio.low,
                out.ratio.high);
  const std::string against =
      out.peer_config.empty() ? c.peer.name : c.peer.name + ", " + out.peer_config;
  std::printf("%-4s %-42s %10s %-24s %10s %-24s %-22s %5.2fx %-10s %-5s %3.0f%% %s\n", c.id.c_str(),
              c.name.c_str(), shown(out.ours.median).c_str(), spread(out.ours).c_str(),
              shown(out.peer.median).c_str(), spread(out.peer).c_str(), ratios_text, best_ratio,
              goal, verdict.c_str(), 100 * out.others, against.c_str());
  if (!out.ours_config.empty()) std::printf("     ours: %s\n", out.ours_config.c_str());
  if (!out.correct) std::printf("     wrong: %s\n", wrong.c_str());
  std::fflush(stdout);
  if (!out.correct || (options_.strict && verdict == "MISS")) ++failures_;
  line("{\"id\":" + quoted(c.id) + ",\"name\":" + quoted(c.name) +
       ",\"ours_s\":" + number(out.ours.median) + ",\"ours_q1\":" + number(out.ours.low) +
       ",\"ours_q3\":" + number(out.ours.high) + ",\"ours_best\":" + number(out.ours.best) +
       ",\"peer\":" + quoted(c.peer.name) + ",\"peer_config\":" + quoted(out.peer_config) +
       ",\"peer_s\":" + number(out.peer.median) + ",\"peer_q1\":" + number(out.peer.low) +
       ",\"peer_q3\":" + number(out.peer.high) + ",\"peer_best\":" + number(out.peer.best) +
       ",\"ratio\":" + number(ratio) + ",\"ratio_best\":" + number(best_ratio) +
       ",\"ratio_q1\":" + number(out.ratio.low) + ",\"ratio_q3\":" + number(out.ratio.high) +
       ",\"blocks\":" + std::to_string(blocks) + ",\"others\":" + number(out.others) +
       ",\"work\":" + number(c.work) + ",\"goal\":" + number(c.goal) + ",\"limit_s\":" +
       number(c.limit) + ",\"correct\":" + (out.correct ? "true" : "false") + "}");
  return out;
}

void Session::report(const std::string& id, const std::string& name, double value, const char* unit,
                     const char* goal, bool good, const std::string& remark) {
  if (trial) return;
  std::printf("%-4s %-44s %14.6g %-9s %-12s %-5s %s\n", id.c_str(), name.c_str(), value, unit, goal,
              *goal == 0 ? ""
              : good     ? "ok"
                         : "MISS",
              remark.c_str());
  std::fflush(stdout);
  if (options_.strict && !good) ++failures_;
  line("{\"id\":" + quoted(id) + ",\"name\":" + quoted(name) + ",\"value\":" + number(value) +
       ",\"unit\":" + quoted(unit) + ",\"goal\":" + quoted(goal) +
       ",\"good\":" + (good ? "true" : "false") + ",\"remark\":" + quoted(remark) + "}");
}

void Session::heading(const std::string& text, const char* rate) {
  if (trial) return;
  std::printf("\n%s   (%s, medians; ratio = peer's time / ours)\n", text.c_str(),
              rate ? rate : "time");
  std::printf("%-4s %-42s %10s %-24s %10s %-24s %-22s %-6s %-10s %-5s %s\n", "", "", "ours",
              "[quartiles]", "peer", "[quartiles]", "ratio [quartiles]", "best", "goal", "",
              "others, peer");
}

void Session::line(const std::string& json) {
  if (options_.json.empty()) return;
  if (FILE* file = std::fopen(options_.json.c_str(), "a")) {
    std::fprintf(file, "%s\n", json.c_str());
    std::fclose(file);
  }
}

// ---- the program
// ---------------------------------------------------------------------------------------------------

namespace {

struct Policy {
  const char* name;
  std::vector<std::pair<const char*, const char*>> variables;
};

// What decides how idle threads of libgomp and OpenBLAS wait. libgomp's own default spins for some
// milliseconds, OpenBLAS's for some tens.
const Policy kPolicies[] = {
    {"default", {}},
    {"passive", {{"OMP_WAIT_POLICY", "passive"}, {"OPENBLAS_THREAD_TIMEOUT", "4"}}},
    {"spin 1e5", {{"GOMP_SPINCOUNT", "100000"}, {"OPENBLAS_THREAD_TIMEOUT", "20"}}},
};

// Runs this program again; what it prints to descriptor 3 comes back.
int again(const char* program, const std::vector<std::string>& arguments, const Policy* policy,
          std::string* answer) {
  int ends[2];
  if (pipe(ends) != 0) return 1;
  std::fflush(stdout);
  const pid_t child = fork();
  if (child < 0) return 1;
  if (child == 0) {
    dup2(ends[1], 3);
    if (ends[0] != 3) close(ends[0]);
    if (ends[1] != 3) close(ends[1]);
    if (policy) {
      for (const auto& [name, value] : policy->variables) setenv(name, value, 1);
    }
    std::vector<char*> list;
    list.push_back(const_cast<char*>(program));
    for (const std::string& argument : arguments)
      list.push_back(const_cast<char*>(argument.c_str()));
    list.push_back(nullptr);
    execv("/proc/self/exe", list.data());
    _exit(127);
  }
  close(ends[1]);
  char buffer[4096];
  ssize_t got = 0;
  while ((got = read(ends[0], buffer, sizeof buffer)) > 0)
    answer->append(buffer, static_cast<size_t>(got));
  close(ends[0]);
  int status = 0;
  waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128;
}

// Geometric mean of the times in a trial's answer; 0 when there is none.
double trial_mean(const std::string& answer) {
  double sum = 0;
  int n = 0;
  for (size_t at = 0; at < answer.size();) {
    size_t end = answer.find('\n', at);
    if (end == std::string::npos) end = answer.size();
    const double value = std::atof(answer.substr(at, end - at).c_str());
    if (value > 0) {
      sum += std::log(value);
      ++n;
    }
    at = end + 1;
  }
  return n > 0 ? std::exp(sum / n) : 0;
}

[[noreturn]] void usage(const char* program, int code) {
  std::fprintf(code ? stderr : stdout,
               "usage: %s [--only TEXT] [--blocks N] [--seconds S] [--block S] [--wait S] [--json "
               "FILE] [--library FILE] [--strict] [--list]\n",
               program);
  std::exit(code);
}

}  // namespace

int run_program(int argc, char** argv, const std::vector<Workload>& workloads) {
  Options options;
  options.library = MILL_LIBRARY_PATH;
  std::string child;
  bool trial = false;
  std::vector<std::string> passed;
  for (int k = 1; k < argc; ++k) {
    const std::string argument = argv[k];
    const auto value = [&]() -> std::string {
      if (k + 1 >= argc) usage(argv[0], 2);
      return argv[++k];
    };
    const int first = k;
    bool pass = true;
    if (argument == "--wait")
      options.wait = std::atof(value().c_str());
    else if (argument == "--only")
      options.only = value();
    else if (argument == "--blocks")
      options.blocks = std::atoi(value().c_str());
    else if (argument == "--seconds")
      options.seconds = std::atof(value().c_str());
    else if (argument == "--block")
      options.block = std::atof(value().c_str());
    else if (argument == "--json")
      options.json = value();
    else if (argument == "--library")
      options.library = value();
    else if (argument == "--strict")
      options.strict = true;
    else if (argument == "--child") {
      child = value();
      pass = false;
    } else if (argument == "--trial") {
      trial = true;
      pass = false;
    } else if (argument == "--list") {
      for (const Workload& workload : workloads) std::printf("%s\n", workload.name.c_str());
      return 0;
    } else
      usage(argv[0], argument == "--help" ? 0 : 2);
    if (pass) {
      for (int i = first; i <= k; ++i) passed.emplace_back(argv[i]);
    }
  }
  if (options.blocks != 0 && options.blocks < 3) options.blocks = 3;

  if (!child.empty()) {
    for (const Workload& workload : workloads) {
      if (workload.name != child) continue;
      try {
        Session session(options);
        session.trial = trial;
        workload.run(session);
        if (trial) {
          for (const auto& [name, seconds] : session.trials) dprintf(3, "%.9g\n", seconds);
        }
        return session.failures() > 0 ? 1 : 0;
      } catch (const std::exception& error) {
        std::fprintf(stderr, "%s: %s\n", child.c_str(), error.what());
        return 1;
      }
    }
    usage(argv[0], 2);
  }

  std::printf("%s\n", machine_line().c_str());
  int failures = 0;
  for (const Workload& workload : workloads) {
    const Policy* policy = nullptr;
    if (workload.threads) {
      double best = 0;
      for (const Policy& candidate : kPolicies) {
        std::vector<std::string> arguments = passed;
        arguments.insert(arguments.end(), {"--child", workload.name, "--trial"});
        std::string answer;
        if (again(argv[0], arguments, &candidate, &answer) != 0) continue;
        const double mean = trial_mean(answer);
        if (mean > 0 && (best == 0 || mean < best)) {
          best = mean;
          policy = &candidate;
        }
      }
      if (policy)
        std::printf("\n%s: peer's threads wait by policy '%s'\n", workload.name.c_str(),
                    policy->name);
    }
    std::vector<std::string> arguments = passed;
    arguments.insert(arguments.end(), {"--child", workload.name});
    std::string answer;
    if (again(argv[0], arguments, policy, &answer) != 0) ++failures;
  }
  std::printf("\n%s\n", machine_line().c_str());
  return failures > 0 ? 1 : 0;
}

}  // namespace bench
