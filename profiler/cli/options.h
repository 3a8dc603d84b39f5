// The command line: what each command takes, its help, and what was given.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "profiler/cli/output.h"

namespace mill::cli {

struct Option {
  const char* name;   // without the dashes
  char letter;        // 0: none
  const char* value;  // what stands for it in the help; NULL: it takes none
  const char* help;
};

class Arguments;

// Where a command writes, and what it was started with.
struct Console {
  Output& out;
  Output& err;
  bool pipe_was_ignored;  // SIGPIPE, before the command ignored it
};

struct Command {
  const char* name;      // "prof report"
  const char* summary;   // one line
  const char* operands;  // of the usage line
  size_t least;          // how many operands
  size_t most;
  bool runs_command;  // the first operand, or what follows "--", begins another command
  std::span<const Option> options;
  const char* notes;  // paragraphs after the options, lines of 100 columns at most
  int (*run)(Console& console, const Arguments& arguments);
};

// What was given. Throws UsageError.
class Arguments {
 public:
  Arguments(const Command& command, std::span<const char* const> words);

  const Command& command() const { return *command_; }
  bool help() const { return has("help"); }
  bool has(std::string_view option) const;
  // The last one that was given.
  std::optional<std::string> value(std::string_view option) const;
  std::string value(std::string_view option, std::string_view otherwise) const;
  std::vector<std::string> values(std::string_view option) const;
  uint64_t natural(std::string_view option, uint64_t otherwise, uint64_t most) const;
  double figure(std::string_view option, double otherwise) const;
  const std::vector<std::string>& operands() const { return operands_; }

 private:
  void long_option(std::string_view word, std::span<const char* const>& rest);
  void letters(std::string_view word, std::span<const char* const>& rest);

  const Command* command_;
  std::vector<std::pair<std::string, std::string>> given_;
  std::vector<std::string> operands_;
};

void print_help(Output& out, const Command& command);

// The name that `word` was probably meant to be; "" if none is near.
std::string nearest(std::string_view word, std::span<const std::string> names);
// ": did you mean ...?" or "".
std::string suggestion(std::string_view word, std::span<const std::string> names);

}  // namespace mill::cli
