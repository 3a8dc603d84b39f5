// What a view writes, by format and by the options of a format.
#include <algorithm>
#include <charconv>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

#include "profiler/export/export.h"
#include "profiler/plugin/guard.h"

namespace mill::prof {

namespace {

// "name=value,name=value"; takes what is asked for, and what is left at the end is unknown.
class Options {
 public:
  explicit Options(std::string_view text) : left_(text) {}

  // False where it is not given.
  bool take(std::string_view name, std::string* value) {
    size_t at = 0;
    while (at < left_.size()) {
      const size_t end = std::min(left_.find(',', at), left_.size());
      const std::string one = left_.substr(at, end - at);
      if (one.size() > name.size() && one.compare(0, name.size(), name) == 0 &&
          one[name.size()] == '=') {
        // With one of the commas beside it.
        if (end < left_.size()) {
          left_.erase(at, end - at + 1);
        } else {
          left_.erase(at > 0 ? at - 1 : 0);
        }
        *value = one.substr(name.size() + 1);
        return true;
      }
      at = end + 1;
    }
    return false;
  }
  // False where there is a value that is no such number.
  bool number(std::string_view name, uint64_t low, uint64_t high, uint64_t* to, std::string* why) {
    std::string text;
    if (!take(name, &text)) return true;
    uint64_t value = 0;
    const auto [end, problem] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (problem != std::errc() || end != text.data() + text.size() || value < low || value > high) {
      *why = "option " + std::string(name) + " is \"" + text.substr(0, 64) +
             "\", it must be a number from " + std::to_string(low) + " to " + std::to_string(high);
      return false;
    }
    *to = value;
    return true;
  }
  bool done(std::string* why) const {
    if (left_.empty()) return true;
    *why = "there is no option \"" + left_.substr(0, 64) + "\" for this format";
    return false;
  }

 private:
  std::string left_;
};

}  // namespace

mill_status view_export(void* self, int32_t format, const char* options, mill_prof_writer writer,
                        void* user, mill_kernel_error* error) {
  return guarded(error, [&] {
    const Analysis& analysis = view_of(self).analysis();
    Options given(options);
    std::string why;
    mill_status said = MILL_OK;
    const Sink sink = [&](std::string_view piece) {
      said = writer(user, piece.data(), piece.size());
      return said == MILL_OK;
    };
    bool written = false;
    switch (format) {
      case MILL_PROF_FORMAT_TEXT: {
        uint64_t width = 100;
        uint64_t findings = 10;
        uint64_t rows = 10;
        if (!given.number("width", 40, 1000, &width, &why) ||
            !given.number("findings", 0, 1000, &findings, &why) ||
            !given.number("rows", 0, 100000, &rows, &why) || !given.done(&why))
          return refuse(error, MILL_E_ARG, why);
        written = export_text(analysis,
                              {static_cast<uint32_t>(width), static_cast<uint32_t>(findings),
                               static_cast<uint32_t>(rows)},
                              sink);
        break;
      }
      case MILL_PROF_FORMAT_CSV: {
        std::string table;
        given.take("table", &table);
        if (!given.done(&why)) return refuse(error, MILL_E_ARG, why);
        if (table.empty())
          return refuse(error, MILL_E_ARG, "CSV is of one table: the options lack table=NAME");
        const std::vector<std::string_view>& names = TableView::names();
        if (std::find(names.begin(), names.end(), table) == names.end()) {
          return refuse(error, MILL_E_ARG,
                        "there is no table \"" + table.substr(0, 64) + "\"" +
                            suggestion(table.substr(0, 64), names));
        }
        written = export_csv(analysis, table, sink);
        break;
      }
      case MILL_PROF_FORMAT_JSON_LINES:
        if (!given.done(&why)) return refuse(error, MILL_E_ARG, why);
        written = export_json_lines(analysis, sink);
        break;
      case MILL_PROF_FORMAT_CHROME:
        if (!given.done(&why)) return refuse(error, MILL_E_ARG, why);
        written = export_chrome(analysis, sink);
        break;
      case MILL_PROF_FORMAT_HTML: {
        HtmlOptions html;
        if (!given.number("max_bytes", 100000, UINT64_MAX, &html.max_bytes, &why) ||
            !given.done(&why))
          return refuse(error, MILL_E_ARG, why);
        written = export_html(analysis, html, sink);
        break;
      }
      default:
        return refuse(error, MILL_E_ARG,
                      "format is " + std::to_string(format) + ", formats are 1 to 5");
    }
    if (written) return mill_status{MILL_OK};
    return refuse(
        error, MILL_E_IO,
        "the writer returned status " + std::to_string(said) + ", the export ended there");
  });
}

}  // namespace mill::prof
