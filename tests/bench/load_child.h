// First training steps in a process of their own, and what it tells of them. Definitions: included
// by load_bench.cpp alone.
#pragma once

#include <dlfcn.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <optional>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

#include "bench/load_files.h"
#include "bench/load_peer.h"

namespace bench {

namespace {

// Empty, and `why` says so, when there is no libtorch here.
std::optional<LoadPeer> open_peer(const std::string& path, std::string* why) {
  if (path.empty()) {
    *why = "libtorch was not there when this program was built";
    return std::nullopt;
  }
  void* library = dlopen(path.c_str(), RTLD_LAZY | RTLD_LOCAL);
  void* fill = library ? dlsym(library, kLoadPeer) : nullptr;
  if (!fill) {
    *why = dlerror();
    return std::nullopt;
  }
  LoadPeer out;
  reinterpret_cast<FillLoadPeer>(fill)(&out);
  return out;
}

constexpr char kFirstStep[] = "--first-step";  // the hidden argument of the child

// Seconds count from just before dlopen.
struct FirstStep {
  double opened = 0;
  double made = 0;                   // context, parameters, optimizer and batch
  double done = 0;                   // the steps, the last one's loss read
  double loss = 0;                   // of the last step
  double peak_rss = 0;               // bytes
  std::vector<std::string> objects;  // that came in meanwhile
  std::string peer;                  // name and thread counts of the peer
  std::vector<std::string> configs;
};

// What a child trains, and for how many steps.
struct FirstModel {
  std::string name;  // as its argument
  int steps = 1;
  std::function<std::unique_ptr<MillTrainer>(Mill&)> ours;
  std::function<std::unique_ptr<peer::Trainer>(const LoadPeer&)> peers;
};

// A starting point outlives the models that are made from it: the child ends with them.
FirstModel first_model(const std::string& name) {
  if (name == "gpt2") {
    // Of A15; three steps, so that the optimizer's state and a second step's gradients have met.
    static const GptShape shape = gpt2_shape();
    static const GptStart start(shape);
    return {name, 3, [](Mill& mill) { return std::make_unique<MillGpt>(mill, shape, start); },
            [](const LoadPeer& peer) { return peer.gpt(shape, start); }};
  }
  static const MlpShape shape = mlp(64, {784, 128, 10});
  static const MlpStart start(shape);
  return {name, 1, [](Mill& mill) { return std::make_unique<MillMlp>(mill, shape, start); },
          [](const LoadPeer& peer) { return peer.mlp(shape, start); }};
}

// Not getrusage: its peak outlives exec.
double peak_rss() {
  std::ifstream status("/proc/self/status");
  std::string line;
  while (std::getline(status, line)) {
    if (line.rfind("VmHWM:", 0) == 0) return std::atof(line.c_str() + 6) * 1024;
  }
  return 0;
}

// The child. `setting`: a gemm option of ours, or an index of the peer's configs, -1 for none;
// `name`: what it trains; `early`: objects that are opened before the clock starts. What it makes
// is not taken down: the process ends here.
[[noreturn]] void first_step_main(const std::string& side, const std::string& path, int setting,
                                  const std::string& name, const std::vector<std::string>& early) {
  std::ostringstream told;
  int code = 0;
  try {
    const FirstModel what = first_model(name);
    const std::vector<std::string> before = loaded_objects();
    double opened = 0;
    double made = 0;
    double loss = 0;
    std::optional<LoadPeer> peer;
    for (const std::string& object : early) {
      if (!dlopen(object.c_str(), RTLD_LAZY | RTLD_LOCAL)) throw std::runtime_error(dlerror());
    }
    const double begin = now();
    if (side == "ours") {
      if (!dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL)) throw std::runtime_error(dlerror());
      opened = now();
      auto* mill = new Mill(path, 0, setting);
      MillTrainer* model = what.ours(*mill).release();
      made = now();
      for (int k = 0; k < what.steps; ++k) model->step(&loss);
    } else {
      std::string why;
      peer = open_peer(path, &why);
      if (!peer) throw std::runtime_error(why);
      opened = now();
      if (setting >= 0) peer->configs.at(static_cast<size_t>(setting)).enter();
      peer::Trainer* model = what.peers(*peer).release();
      made = now();
      for (int k = 0; k < what.steps; ++k) model->step(&loss);
    }
    const double done = now();
    told.precision(12);
    told << "opened " << opened - begin << "\nmade " << made - begin << "\ndone " << done - begin
         << "\nloss " << loss << "\nrss " << peak_rss() << "\n";
    for (const std::string& object : loaded_objects()) {
      if (std::find(before.begin(), before.end(), object) == before.end())
        told << "object " << object << "\n";
    }
    if (peer) {
      told << "peer " << peer->name << "\n";
      for (const Config& config : peer->configs) told << "config " << config.name << "\n";
    }
  } catch (const std::exception& error) {
    told << "error " << error.what() << "\n";
    code = 1;
  }
  const std::string text = told.str();
  for (size_t at = 0; at < text.size();) {
    const ssize_t wrote = write(3, text.data() + at, text.size() - at);
    if (wrote <= 0) _exit(1);
    at += static_cast<size_t>(wrote);
  }
  _exit(code);
}

// Runs this program again as such a child. Throws what it complains of.
FirstStep first_step(const std::string& side, const std::string& path, int setting,
                     const std::string& name = "mlp", const std::vector<std::string>& early = {}) {
  int ends[2];
  if (pipe(ends) != 0) throw std::runtime_error("cannot make a pipe");
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  // The child tells on descriptor 3, which either end may happen to be.
  if (ends[1] != 3) posix_spawn_file_actions_adddup2(&actions, ends[1], 3);
  if (ends[0] != 3) posix_spawn_file_actions_addclose(&actions, ends[0]);
  if (ends[1] != 3) posix_spawn_file_actions_addclose(&actions, ends[1]);
  std::vector<std::string> arguments = {
      "load_bench", kFirstStep, side, path, std::to_string(setting), name};
  arguments.insert(arguments.end(), early.begin(), early.end());
  std::vector<char*> list;
  for (std::string& argument : arguments) list.push_back(argument.data());
  list.push_back(nullptr);
  pid_t child = 0;
  const int failed = posix_spawn(&child, "/proc/self/exe", &actions, nullptr, list.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  close(ends[1]);
  std::string text;
  char buffer[4096];
  ssize_t got = 0;
  while (failed == 0 && (got = read(ends[0], buffer, sizeof buffer)) > 0)
    text.append(buffer, static_cast<size_t>(got));
  close(ends[0]);
  int status = 1;
  if (failed == 0) waitpid(child, &status, 0);

  FirstStep out;
  std::string complaint = "a first step of " + side + " ended without a result";
  std::istringstream lines(text);
  std::string line;
  while (std::getline(lines, line)) {
    const size_t space = std::min(line.find(' '), line.size());
    const std::string key = line.substr(0, space);
    const std::string value = line.substr(std::min(space + 1, line.size()));
    const auto number = [&] { return std::atof(value.c_str()); };
    if (key == "opened") out.opened = number();
    if (key == "made") out.made = number();
    if (key == "done") out.done = number();
    if (key == "loss") out.loss = number();
    if (key == "rss") out.peak_rss = number();
    if (key == "object") out.objects.push_back(value);
    if (key == "peer") out.peer = value;
    if (key == "config") out.configs.push_back(value);
    if (key == "error") complaint = value;
  }
  if (status != 0 || out.done <= 0) throw std::runtime_error(complaint);
  return out;
}

}  // namespace

}  // namespace bench
