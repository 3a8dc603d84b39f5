#include "profiler/cli/figures.h"

#include <charconv>
#include <cmath>
#include <string>

#include "profiler/cli/output.h"

namespace mill::cli {

namespace {

// Three digits: 1.93, 19.3, 193.
std::string three(double value) {
  const double size = std::fabs(value);
  return printf_text("%.*f", size < 9.995 ? 2 : size < 99.95 ? 1 : 0, value);
}

struct Scale {
  double factor;
  const char* unit;
};

template <size_t N>
std::string scaled(double value, const Scale (&scales)[N]) {
  if (!std::isfinite(value)) return "?";
  for (const Scale& scale : scales) {
    if (std::fabs(value) >= scale.factor * 0.9995) return three(value / scale.factor) + scale.unit;
  }
  const Scale& last = scales[N - 1];
  return (value == 0 ? std::string("0") : three(value / last.factor)) + last.unit;
}

}  // namespace

std::string time_text(double ns) {
  static constexpr Scale kScales[] = {{1e9, " s"}, {1e6, " ms"}, {1e3, " us"}, {1, " ns"}};
  return scaled(ns, kScales);
}

std::string bytes_text(double bytes) {
  static constexpr Scale kScales[] = {
      {1e12, " TB"}, {1e9, " GB"}, {1e6, " MB"}, {1e3, " KB"}, {1, " B"}};
  return std::fabs(bytes) < 1000 ? printf_text("%.0f B", bytes) : scaled(bytes, kScales);
}

std::string size_text(uint64_t bytes) {
  static constexpr const char* kUnits[] = {"B", "KiB", "MiB", "GiB", "TiB"};
  size_t unit = 0;
  auto value = static_cast<double>(bytes);
  while (value >= 1024 && unit + 1 < std::size(kUnits)) {
    value /= 1024;
    ++unit;
  }
  const bool whole = value == std::floor(value);
  return printf_text(whole ? "%.0f %s" : "%.1f %s", value, kUnits[unit]);
}

std::string rate_text(double bytes_per_s) {
  return bytes_per_s > 0 ? bytes_text(bytes_per_s) + "/s" : "?";
}

std::string share_text(double share) {
  return printf_text("%.1f %%", 100 * share);
}

std::string count_text(uint64_t count) {
  std::string digits = std::to_string(count);
  for (size_t at = digits.size(); at > 3; at -= 3) digits.insert(at - 3, 1, ',');
  return digits;
}

std::string signed_time_text(double ns) {
  return (ns > 0 ? "+" : "") + time_text(ns);
}

std::string signed_share_text(double share) {
  return printf_text("%+.1f %%", 100 * share);
}

std::optional<double> parse_figure(std::string_view text) {
  double value = 0;
  const auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (code != std::errc() || !std::isfinite(value)) return std::nullopt;
  std::string_view unit(end, static_cast<size_t>(text.data() + text.size() - end));
  while (!unit.empty() && unit.front() == ' ') unit.remove_prefix(1);
  if (unit.size() > 2 && unit.ends_with("/s")) unit.remove_suffix(2);
  static constexpr struct {
    const char* name;
    double factor;
  } kUnits[] = {{"", 1},
                {"x", 1},
                {"%", 0.01},
                {"ns", 1},
                {"us", 1e3},
                {"\u00b5s", 1e3},
                {"ms", 1e6},
                {"s", 1e9},
                {"B", 1},
                {"KB", 1e3},
                {"kB", 1e3},
                {"MB", 1e6},
                {"GB", 1e9},
                {"TB", 1e12},
                {"KiB", 1024.0},
                {"MiB", 1048576.0},
                {"GiB", 1073741824.0}};
  for (const auto& known : kUnits) {
    if (unit == known.name)
      return std::isfinite(value * known.factor) ? std::optional(value * known.factor)
                                                 : std::nullopt;
  }
  return std::nullopt;
}

std::optional<uint64_t> parse_natural(std::string_view text) {
  uint64_t value = 0;
  const auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (code != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

}  // namespace mill::cli
