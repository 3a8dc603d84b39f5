// millrace prof run: runs a program with its contexts recorded, then reports.
#include <dirent.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "profiler/cli/commands.h"
#include "profiler/cli/figures.h"
#include "profiler/cli/program.h"
#include "profiler/cli/view.h"
#include "profiler/cli/whole_file.h"

namespace mill::cli {

namespace {

constexpr Option kOptions[] = {
    {"output", 'o', "FILE",
     "keep the trace (FILE ends in .json or .json.gz) or a report (.html, .txt, .csv, .jsonl); of "
     "several contexts each gets its own, FILE-2.html and so on; a text is printed unless a report "
     "is kept"},
    {"format", 'f', "FORMAT",
     "of the report: text (the default), csv, jsonl, chrome (the trace itself) or html"},
    {"budget", 'b', "PERCENT",
     "what recording may cost, of a step's time: some steps are left unrecorded to measure it and "
     "to stay below; no limit unless told, every step is recorded"},
    {"store", 's', "MB", "memory for records, the newest are kept; 256 unless told"},
    {"top", 'n', "N", "findings, and rows of each table, in a text; 10 unless told"},
    {"no-report", 0, nullptr, "keep the trace (-o) and print nothing"},
    {"wait", 0, "WHOM",
     "all (the default): also for processes that COMMAND leaves behind, an interrupt ends that; "
     "primary: for COMMAND only"},
};

constexpr const char* kNotes =
    "COMMAND is started with MILLRACE_PROF set: every context that it makes, in its own process "
    "and\n"
    "in those that it starts, is recorded and written out when the context ends. Its standard "
    "input\n"
    "and output are its own; the reports follow on the standard error, so that what the program\n"
    "prints can still be piped. `--` before COMMAND is optional.\n\n"
    "Exit status: that of COMMAND, 128 + n where signal n ended it, 127 where it was not found, "
    "126\n"
    "where it could not be started; 1 where it succeeded but left no trace, or one that could not "
    "be\n"
    "read or kept.\n\n"
    "  millrace prof run -- ./train --epochs 1\n"
    "  millrace prof run -o report.html -- python3 train.py\n";

// ---- the traces ---------------------------------------------------------------------------------

// A folder of its own, removed with what is in it.
class Folder {
 public:
  Folder() {
    const char* wanted = std::getenv("TMPDIR");
    // In MILLRACE_PROF options follow commas, and % stands before what is put in.
    std::string base = wanted && *wanted && !std::strpbrk(wanted, ",%") ? wanted : "/tmp";
    // The program may change its folder before it writes.
    if (char* const whole = realpath(base.c_str(), nullptr); whole) {
      if (!std::strpbrk(whole, ",%")) base = whole;
      std::free(whole);
    }
    path_ = base + "/millrace-prof.XXXXXX";
    if (!mkdtemp(path_.data()))
      throw Failure("cannot make a folder in \"" + safe_text(base) + "\": " + std::strerror(errno));
  }
  ~Folder() {
    for (const std::string& file : files()) {
      if (std::find(kept_.begin(), kept_.end(), file) == kept_.end()) unlink(file.c_str());
    }
    rmdir(path_.c_str());  // empty unless something is kept
  }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;

  const std::string& path() const { return path_; }
  // A trace that could not be delivered, under a name of its own. "" if it is no longer there.
  std::string keep(const std::string& file) {
    const bool named = file.ends_with(".json") || file.ends_with(".json.gz");
    std::string name =
        named ? file : path_ + "/trace-" + std::to_string(kept_.size() + 1) + ".json";
    if (rename(file.c_str(), name.c_str()) != 0) return "";
    kept_.push_back(name);
    return name;
  }
  // Why recordings could not be made or written: PATH.error of each.
  std::vector<std::string> errors() const {
    std::vector<std::string> out;
    for (const std::string& file : files()) {
      if (!file.ends_with(".error")) continue;
      struct Close {
        void operator()(std::FILE* stream) const { std::fclose(stream); }
      };
      const std::unique_ptr<std::FILE, Close> stream(std::fopen(file.c_str(), "re"));
      char line[1000];
      if (!stream || !std::fgets(line, sizeof line, stream.get())) continue;
      line[std::strcspn(line, "\n")] = 0;
      out.emplace_back(line);
    }
    std::sort(out.begin(), out.end());
    return out;
  }
  std::vector<std::string> files() const {
    struct Close {
      void operator()(DIR* listing) const { closedir(listing); }
    };
    std::vector<std::string> out;
    const std::unique_ptr<DIR, Close> listing(opendir(path_.c_str()));
    while (const dirent* one = listing ? readdir(listing.get()) : nullptr) {
      const std::string name = one->d_name;
      if (name != "." && name != "..") out.push_back(path_ + "/" + name);
    }
    return out;
  }
  // In the order in which they were finished.
  std::vector<std::string> traces() const {
    std::vector<std::pair<int64_t, std::string>> found;
    for (const std::string& file : files()) {
      struct stat about {};
      const bool trace =
          file.ends_with(".json.gz") || file.ends_with(".json") || file.ends_with(")");
      if (!trace || stat(file.c_str(), &about) != 0) continue;
      found.emplace_back(int64_t{about.st_mtim.tv_sec} * 1000000000 + about.st_mtim.tv_nsec, file);
    }
    std::sort(found.begin(), found.end());
    std::vector<std::string> out;
    out.reserve(found.size());
    for (auto& one : found) out.push_back(std::move(one.second));
    return out;
  }

 private:
  std::string path_;
  std::vector<std::string> kept_;
};

// The program's name, of letters that mean nothing in MILLRACE_PROF.
std::string plain_name(const std::string& program) {
  std::string name = program.substr(program.find_last_of('/') + 1).substr(0, 64);
  for (char& c : name) {
    const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                       c == '.' || c == '-' || c == '_';
    if (!plain) c = '_';
  }
  return name;
}

// "report.html", 1: "report-2.html".
std::string numbered(const std::string& path, size_t index) {
  if (index == 0) return path;
  const size_t slash = path.find_last_of('/');
  const size_t name = slash == std::string::npos ? 0 : slash + 1;
  size_t dot = path.find('.', name + 1);
  if (dot == std::string::npos) dot = path.size();
  return path.substr(0, dot) + "-" + std::to_string(index + 1) + path.substr(dot);
}

struct Wish {
  std::string file;
  bool wait_for_all = true;
  const Format* format = nullptr;
  bool keep_trace = false;
  bool report = true;
  uint64_t top = 10;
};

Wish read_wish(const Arguments& arguments) {
  Wish wish;
  wish.file = arguments.value("output", "");
  if (wish.file == "-")
    throw UsageError("--output is \"-\", but the standard output is the program's: name a file");
  wish.format = &chosen_format(arguments, wish.file);
  wish.keep_trace = wish.format->number == MILL_PROF_FORMAT_CHROME;
  wish.report = !arguments.has("no-report");
  wish.top = arguments.natural("top", 10, 1000000);
  const std::string whom = arguments.value("wait", "all");
  if (whom != "all" && whom != "primary")
    throw UsageError("--wait is \"" + safe_text(whom) + "\", all or primary can be");
  wish.wait_for_all = whom == "all";
  if (!wish.report && wish.file.empty())
    throw UsageError("--no-report without -o would leave nothing");
  if (wish.file.empty() && !wish.format->for_terminals)
    throw UsageError(std::string(wish.format->name) + " needs a file: -o FILE");
  return wish;
}

// Before the program runs: afterwards its recording would have nowhere to go.
void check_file(const std::string& file) {
  if (file.empty()) return;
  struct stat about {};
  if (stat(file.c_str(), &about) == 0 && S_ISDIR(about.st_mode))
    throw Failure("\"" + safe_text(file) + "\" is a folder, not a file");
  const size_t slash = file.find_last_of('/');
  const std::string folder = slash == std::string::npos ? "." : file.substr(0, slash + 1);
  if (access(folder.c_str(), W_OK | X_OK) != 0)
    throw Failure("\"" + safe_text(file) + "\" cannot be written: " + std::strerror(errno));
}

// What the engine is told, but for the path.
std::string engine_options(const Arguments& arguments) {
  std::string text;
  if (const auto budget = arguments.value("budget")) {
    // "2" and "2%" both mean two percent.
    const double percent = arguments.figure("budget", 1) * (budget->ends_with('%') ? 100 : 1);
    if (percent <= 0)
      throw UsageError("--budget is " + safe_text(*budget) + ", it must be above 0");
    text += printf_text(",budget=%.6g", percent / 100);
  }
  if (arguments.has("store")) {
    const uint64_t megabytes = arguments.natural("store", 256, uint64_t{1} << 20);
    if (megabytes == 0) throw UsageError("--store is 0, at least 1 MB is needed");
    text += ",store=" + std::to_string(megabytes << 20);
  }
  return text;
}

// One trace, reported and kept as wished.
void deliver(Console& console, const Wish& wish, const std::string& trace, size_t index,
             size_t count) {
  Output& err = console.err;
  const std::string file = wish.file.empty() ? "" : numbered(wish.file, index);
  // A report that goes to a file is not printed; beside a trace that is kept, it is.
  const bool print = wish.report && (file.empty() || wish.keep_trace);
  const bool need_view = print || (!file.empty() && !wish.keep_trace);
  // A pipe or a device gets the trace once it has been read, as nobody can read it there.
  const bool move = wish.keep_trace && !file.empty();
  const bool first = move && replaceable(file);
  if (first) move_file(trace, file);
  if (need_view) {
    const View view(first ? file : trace, {});
    if (!print) {
      write_report(view, *wish.format, file, "findings", wish.top, err);
    } else {
      if (count > 1)
        err << "\n"
            << err.paint(Colour::bold, printf_text("Context %zu of %zu", index + 1, count))
            << "\n\n";
      const Format& shown = wish.keep_trace ? find_format("text") : *wish.format;
      write_report(view, shown, "", "findings", wish.top, err);
    }
  }
  if (move && !first) move_file(trace, file);
  if (!file.empty()) err << "millrace: wrote " << safe_text(file) << "\n";
}

// Where each context writes: a name that a report can show, and for a trace that is kept one whose
// ending says how it is written.
std::string trace_name(const Wish& wish, const std::string& program) {
  const std::string name = plain_name(program);
  if (!wish.keep_trace) return name + " (process %p context %c)";
  return name + ".%p.%c.json" + (wish.file.ends_with(".gz") ? ".gz" : "");
}

std::string how_it_ended(const Outcome& outcome) {
  if (outcome.signal != 0)
    return printf_text(" was ended by signal %d (%s)", outcome.signal, strsignal(outcome.signal));
  return outcome.status != 0 ? printf_text(" ended with status %d", outcome.status) : "";
}

int run(Console& console, const Arguments& arguments) {
  const Wish wish = read_wish(arguments);
  const std::string options = engine_options(arguments);
  check_file(wish.file);
  const std::vector<std::string>& command = arguments.operands();
  // What cannot be said must not cost the program its status or its recording.
  console.err.give_up_quietly();
  const HeldSignals signals;  // ends after the folder is gone
  Folder folder;
  const std::string setting = folder.path() + "/" + trace_name(wish, command.front()) + options;
  if (setenv("MILLRACE_PROF", setting.c_str(), 1) != 0) throw Failure("out of memory");
  console.out.flush();
  console.err.flush();
  const Outcome outcome = run_program(command, console, wish.wait_for_all, signals);
  unsetenv("MILLRACE_PROF");
  const std::string name = safe_text(command.front());
  if (outcome.failure != 0) {
    console.err << "millrace: cannot run \"" << name << "\": " << std::strerror(outcome.failure)
                << "\n";
    return outcome.failure == ENOENT ? 127 : 126;
  }
  const std::vector<std::string> traces = folder.traces();
  const std::vector<std::string> errors = folder.errors();
  const std::string ending = how_it_ended(outcome);
  Output& err = console.err;
  for (const std::string& error : errors)
    err << "millrace: a context of " << name << " left no trace: " << safe_text(error) << "\n";
  if (traces.empty()) {
    if (errors.empty() && access(folder.path().c_str(), F_OK) != 0) {
      err << "millrace: the folder for the traces of " << name << ", " << safe_text(folder.path())
          << ", is gone: somebody has removed it\n";
    } else if (errors.empty()) {
      err << "millrace: " << name << ending << (ending.empty() ? "" : " and")
          << " left no trace: it made no Millrace context, or did not end by exit() or by "
             "returning "
             "from main (_exit and signals write nothing)\n";
    }
    return outcome.status == 0 ? int{kFailed} : outcome.status;
  }
  if (!ending.empty())
    err << "millrace: " << name << ending << "; what follows is of what it did until then\n";
  if (wish.report && (wish.file.empty() || wish.keep_trace)) err << "\n";
  bool failed = !errors.empty();
  for (size_t k = 0; k < traces.size(); ++k) {
    try {
      deliver(console, wish, traces[k], k, traces.size());
    } catch (const Failure& error) {
      err << "millrace: the trace of " << name << ": " << error.what() << "\n";
      if (const std::string kept = folder.keep(traces[k]); !kept.empty())
        err << "millrace: it is kept: " << safe_text(kept) << "\n";
      failed = true;
    }
  }
  return outcome.status == 0 && failed ? int{kFailed} : outcome.status;
}

}  // namespace

Command run_command() {
  return {"prof run",
          "Runs a program that uses Millrace, records what it and its devices do, and reports what "
          "held it back.",
          "[--] COMMAND [ARGUMENT ...]",
          1,
          SIZE_MAX,
          true,
          kOptions,
          kNotes,
          run};
}

}  // namespace mill::cli
