// One trace event, as its fields stand in the text.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace mill::prof {

// Values are the text of a number or a string alike, true or false; null and what is nested deeper
// is left out, except for the first numbers of an argument that is a list. Views last as long as
// the EventReader's last event.
struct Event {
  char ph = 0;        // 0: none, or no single letter
  bool empty = true;  // {}
  std::string_view cat, name, pid, tid, ts, dur, id, bp, device;

  struct Argument {
    std::string_view name;
    std::string_view value;
    bool list = false;
    uint8_t numbers = 0;
    std::array<std::string_view, 3> list_values{};
  };
  std::vector<Argument> args;

  // The last of that name, as JSON readers commonly do; nullptr: none.
  const Argument* find(std::string_view wanted) const {
    for (size_t k = args.size(); k-- > 0;) {
      if (args[k].name == wanted) return &args[k];
    }
    return nullptr;
  }
  std::string_view arg(std::string_view wanted) const {
    const Argument* found = find(wanted);
    return found != nullptr ? found->value : std::string_view();
  }
  std::string_view arg(std::string_view wanted, std::string_view also) const {
    const std::string_view value = arg(wanted);
    return value.empty() ? arg(also) : value;
  }
  // 0 for what is not there or no number.
  uint64_t number(std::string_view wanted) const;
  uint64_t number(std::string_view wanted, std::string_view also) const;
  // The same of a size, which is not negative: a number of an id may be.
  uint64_t size(std::string_view wanted) const;
};

class EventReader {
 public:
  // True when `json` is an object; *out is what it says. Otherwise *why is a static text, and
  // *at the offset where reading stopped.
  bool read(std::string_view json, Event* out, const char** why, size_t* at);

 private:
  bool parse(Event* out, const char** why, size_t* at);

  std::vector<char> copy_;  // decoded in place
};

}  // namespace mill::prof
