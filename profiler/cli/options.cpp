#include "profiler/cli/options.h"

#include <algorithm>
#include <limits>
#include <numeric>

#include "profiler/cli/figures.h"

namespace mill::cli {

namespace {

constexpr Option kHelp = {"help", 'h', nullptr, "this text"};

const Option* find_option(const Command& command, std::string_view name) {
  if (name == kHelp.name) return &kHelp;
  for (const Option& option : command.options) {
    if (name == option.name) return &option;
  }
  return nullptr;
}

const Option* find_letter(const Command& command, char letter) {
  if (letter == kHelp.letter) return &kHelp;
  for (const Option& option : command.options) {
    if (letter == option.letter) return &option;
  }
  return nullptr;
}

std::string see_help(const Command& command) {
  return "; `millrace " + std::string(command.name) + " --help` tells";
}

// Of Damerau and Levenshtein, restricted to neighbours that changed places.
size_t distance(std::string_view a, std::string_view b) {
  std::vector<std::vector<size_t>> d(a.size() + 1, std::vector<size_t>(b.size() + 1));
  for (size_t i = 0; i <= a.size(); ++i) d[i][0] = i;
  std::iota(d[0].begin(), d[0].end(), size_t{0});
  for (size_t i = 1; i <= a.size(); ++i) {
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t change = d[i - 1][j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1);
      d[i][j] = std::min({d[i - 1][j] + 1, d[i][j - 1] + 1, change});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
        d[i][j] = std::min(d[i][j], d[i - 2][j - 2] + 1);
    }
  }
  return d[a.size()][b.size()];
}

}  // namespace

std::string nearest(std::string_view word, std::span<const std::string> names) {
  std::string best;
  size_t least = std::numeric_limits<size_t>::max();
  if (word.empty() || word.size() > 64) return best;
  for (const std::string& name : names) {
    const bool begins = word.size() >= 2 && name.starts_with(word);
    const size_t far = begins ? 1 : distance(word, name);
    if (far < least && far <= 1 + std::max(word.size(), name.size()) / 4) {
      least = far;
      best = name;
    }
  }
  return best;
}

std::string suggestion(std::string_view word, std::span<const std::string> names) {
  const std::string found = nearest(word, names);
  return found.empty() ? "" : "; did you mean \"" + found + "\"?";
}

Arguments::Arguments(const Command& command, std::span<const char* const> words)
    : command_(&command) {
  while (!words.empty()) {
    const std::string_view word = words.front();
    words = words.subspan(1);
    if (word == "--") {
      operands_.insert(operands_.end(), words.begin(), words.end());
      break;
    }
    if (word.starts_with("--")) {
      long_option(word.substr(2), words);
    } else if (word.size() > 1 && word.front() == '-') {
      letters(word, words);
    } else {
      operands_.emplace_back(word);
      if (command.runs_command) {
        operands_.insert(operands_.end(), words.begin(), words.end());
        break;
      }
    }
  }
  if (help()) return;
  for (const auto& [name, text] : given_) {
    const Option* const option = find_option(command, name);
    if (option->value && text.empty())
      throw UsageError("--" + name + " is empty, it needs a " + option->value);
  }
  if (operands_.size() < command.least) {
    throw UsageError("millrace " + std::string(command.name) + " needs " + command.operands +
                     see_help(command));
  }
  if (operands_.size() > command.most) {
    throw UsageError("millrace " + std::string(command.name) + " does not take \"" +
                     safe_text(operands_[command.most]) + "\"" + see_help(command));
  }
}

void Arguments::long_option(std::string_view word, std::span<const char* const>& rest) {
  const size_t equals = word.find('=');
  const std::string name(word.substr(0, equals));
  const Option* option = find_option(*command_, name);
  if (!option) {
    std::vector<std::string> names = {kHelp.name};
    for (const Option& one : command_->options) names.emplace_back(one.name);
    const std::string near = nearest(name, names);
    throw UsageError("millrace " + std::string(command_->name) + " has no option --" +
                     safe_text(name) +
                     (near.empty() ? see_help(*command_) : "; did you mean --" + near + "?"));
  }
  if (equals != std::string_view::npos) {
    if (!option->value) throw UsageError("--" + name + " takes no value");
    given_.emplace_back(name, word.substr(equals + 1));
    return;
  }
  if (option->value && rest.empty()) throw UsageError("--" + name + " needs a " + option->value);
  given_.emplace_back(name, option->value ? rest.front() : "");
  if (option->value) rest = rest.subspan(1);
}

void Arguments::letters(std::string_view word, std::span<const char* const>& rest) {
  for (size_t k = 1; k < word.size(); ++k) {
    const Option* option = find_letter(*command_, word[k]);
    if (!option) {
      throw UsageError("millrace " + std::string(command_->name) + " has no option " +
                       safe_text(word) + see_help(*command_));
    }
    if (!option->value) {
      given_.emplace_back(option->name, "");
      continue;
    }
    if (k + 1 < word.size()) {
      given_.emplace_back(option->name, word.substr(k + 1));
    } else {
      if (rest.empty())
        throw UsageError(std::string("-") + option->letter + " needs a " + option->value);
      given_.emplace_back(option->name, rest.front());
      rest = rest.subspan(1);
    }
    return;
  }
}

bool Arguments::has(std::string_view option) const {
  return value(option).has_value();
}

std::optional<std::string> Arguments::value(std::string_view option) const {
  for (auto it = given_.rbegin(); it != given_.rend(); ++it) {
    if (it->first == option) return it->second;
  }
  return std::nullopt;
}

std::string Arguments::value(std::string_view option, std::string_view otherwise) const {
  return value(option).value_or(std::string(otherwise));
}

std::vector<std::string> Arguments::values(std::string_view option) const {
  std::vector<std::string> out;
  for (const auto& [name, text] : given_) {
    if (name == option) out.push_back(text);
  }
  return out;
}

uint64_t Arguments::natural(std::string_view option, uint64_t otherwise, uint64_t most) const {
  const std::optional<std::string> text = value(option);
  if (!text) return otherwise;
  const std::optional<uint64_t> number = parse_natural(*text);
  if (!number || *number > most) {
    throw UsageError("--" + std::string(option) + " is \"" + safe_text(*text) +
                     "\", a whole number from 0 to " + std::to_string(most) + " can be");
  }
  return *number;
}

double Arguments::figure(std::string_view option, double otherwise) const {
  const std::optional<std::string> text = value(option);
  if (!text) return otherwise;
  const std::optional<double> number = parse_figure(*text);
  if (!number || *number < 0) {
    throw UsageError("--" + std::string(option) + " is \"" + safe_text(*text) +
                     "\", a number that is not negative can be");
  }
  return *number;
}

void print_help(Output& out, const Command& command) {
  out << "usage: millrace " << command.name << (command.options.empty() ? "" : " [OPTION ...]")
      << (*command.operands ? " " : "") << command.operands << "\n\n"
      << wrap_text(command.summary, out.width(), 0) << "\n\n";
  std::vector<std::pair<std::string, const char*>> lines;
  const auto add = [&](const Option& option) {
    std::string text = option.letter ? std::string("-") + option.letter + ", " : "    ";
    text += std::string("--") + option.name;
    if (option.value) text += std::string(" ") + option.value;
    lines.emplace_back(std::move(text), option.help);
  };
  for (const Option& option : command.options) add(option);
  add(kHelp);
  size_t widest = 0;
  for (const auto& line : lines) widest = std::max(widest, line.first.size());
  for (const auto& [text, help] : lines) {
    out << "  " << text << std::string(widest + 2 - text.size(), ' ')
        << wrap_text(help, out.width(), widest + 4, false) << "\n";
  }
  if (*command.notes) out << "\n" << command.notes;
}

}  // namespace mill::cli
