// `millrace`: says what works here, and shows what held a program back.
#include <millrace/millrace.h>

#include <algorithm>
#include <csignal>
#include <exception>
#include <new>
#include <span>
#include <string>
#include <vector>

#include "profiler/cli/commands.h"
#include "profiler/cli/output.h"

namespace mill::cli {

namespace {

std::vector<Command> commands() {
  return {info_command(), report_command(), run_command(), diff_command(), calibrate_command()};
}

constexpr const char* kGroup = "prof";

std::string version_text() {
  uint32_t major = 0;
  uint32_t minor = 0;
  uint32_t patch = 0;
  mill_version(&major, &minor, &patch);
  return printf_text("millrace %u.%u.%u", major, minor, patch);
}

// only_group: the commands behind "prof".
void print_overview(Output& out, bool only_group) {
  out << (only_group ? "usage: millrace prof COMMAND [OPTION ...]\n\n"
                     : "usage: millrace COMMAND [OPTION ...]\n\n")
      << (only_group ? "What held a program back, and what fixing it would save.\n\n"
                     : "Looks after programs that use the Millrace library.\n\n");
  for (const Command& command : commands()) {
    const std::string name = command.name;
    if (only_group && !name.starts_with("prof ")) continue;
    out << "  " << name << std::string(18 - name.size(), ' ')
        << wrap_text(command.summary, out.width(), 20, false) << "\n";
  }
  if (!only_group) {
    out << "  help [COMMAND]    what a command does and takes; also `millrace COMMAND --help`\n"
           "  --version         the version of the library\n";
  }
  out << "\nExit status: 0 done, 1 what was asked for failed or a check found a fault, 2 wrong "
         "usage,\n3 the recording is too damaged for advice. `prof run` gives that of the program "
         "it ran.\n";
}

std::vector<std::string> names(bool in_group) {
  std::vector<std::string> out;
  for (const Command& command : commands()) {
    const std::string name = command.name;
    const bool grouped = name.starts_with("prof ");
    if (grouped == in_group) out.push_back(grouped ? name.substr(5) : name);
  }
  if (!in_group) {
    out.emplace_back(kGroup);
    out.emplace_back("help");
  }
  return out;
}

// Takes the words of a command's name off. `group` is set where only "prof" was given.
Command take_command(std::span<const char* const>& words, bool* group) {
  *group = false;
  std::string name = words.front();
  words = words.subspan(1);
  const bool grouped = name == kGroup;
  if (grouped) {
    if (words.empty() || words.front()[0] == '-') {
      *group = true;
      return {};
    }
    name += ' ';
    name += words.front();
    words = words.subspan(1);
  }
  for (const Command& command : commands()) {
    if (name == command.name) return command;
  }
  const std::string word = grouped ? name.substr(5) : name;
  // Who writes `millrace report` means the one in the group.
  const std::vector<std::string> others = names(true);
  const bool elsewhere = !grouped && std::find(others.begin(), others.end(), word) != others.end();
  const std::string near = elsewhere ? word : nearest(word, names(grouped));
  std::string text = "there is no command \"" + safe_text(name) + "\"";
  if (near.empty()) {
    text += "; `millrace help` lists them";
  } else {
    text += std::string("; did you mean \"") + (elsewhere || grouped ? "prof " : "") + near + "\"?";
  }
  throw UsageError(text);
}

int dispatch(Console& console, std::span<const char* const> words) {
  if (words.empty()) {
    print_overview(console.err, false);
    return kUsage;
  }
  const std::string_view first = words.front();
  if (first == "--version" || first == "-V") {
    console.out << version_text() << "\n";
    return kOk;
  }
  const bool asked = first == "help" || first == "--help" || first == "-h";
  if (asked) words = words.subspan(1);
  if (words.empty()) {
    print_overview(console.out, false);
    return kOk;
  }
  if (!asked && first.starts_with("-"))
    throw UsageError("there is no option \"" + safe_text(first) + "\"; `millrace help` tells");
  bool group = false;
  const Command command = take_command(words, &group);
  if (group) {
    const bool help = asked || (!words.empty() && (std::string_view(words[0]) == "--help" ||
                                                   std::string_view(words[0]) == "-h"));
    print_overview(help ? console.out : console.err, true);
    return help ? kOk : kUsage;
  }
  if (asked) {
    if (!words.empty())
      throw UsageError("help takes one command, not \"" + safe_text(words.front()) + "\" too");
    print_help(console.out, command);
    return kOk;
  }
  const Arguments arguments(command, words);
  if (arguments.help()) {
    print_help(console.out, command);
    return kOk;
  }
  return command.run(console, arguments);
}

// A failed write to the standard error is nobody's to hear.
void complain(Output& err, const std::string& text) noexcept {
  try {
    err << "millrace: " << text << "\n";
    err.flush();
  } catch (...) {  // NOLINT
  }
}

int guarded(std::span<const char* const> words) {
  struct sigaction ignore {};
  struct sigaction before {};
  ignore.sa_handler = SIG_IGN;
  sigaction(SIGPIPE, &ignore, &before);
  Output out(1, "the standard output");
  Output err(2, "the standard error");
  Console console{out, err, before.sa_handler == SIG_IGN};
  try {
    const int status = dispatch(console, words);
    out.flush();
    err.flush();
    return status;
  } catch (const PipeClosed&) {
    return kPipe;
  } catch (const UsageError& error) {
    complain(err, error.what());
    return kUsage;
  } catch (const std::bad_alloc&) {
    complain(err, "out of memory");
    return kFailed;
  } catch (const std::exception& error) {
    // What was printed until now belongs before the reason.
    try {
      out.flush();
    } catch (...) {  // NOLINT
    }
    complain(err, error.what());
    return kFailed;
  }
}

}  // namespace

}  // namespace mill::cli

int main(int argc, char** argv) {
  const std::vector<const char*> words(argv + (argc > 0 ? 1 : 0), argv + argc);
  return mill::cli::guarded(words);
}
