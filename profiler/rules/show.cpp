#include <array>
#include <cmath>
#include <cstdio>
#include <string>

#include "profiler/rules/rules.h"

namespace mill::prof {

namespace {

// Three digits: "1.93", "12.4", "115"; no digits after the point from 100 on.
std::string three_digits(double value) {
  std::array<char, 64> text{};
  const double size = std::fabs(value);
  const char* form = size < 9.995 ? "%.2f" : size < 99.95 ? "%.1f" : "%.0f";
  std::snprintf(text.data(), text.size(), form, value);
  return text.data();
}

struct Scale {
  double from;  // the smallest figure that rounds to 1.00 of this unit
  double one;
  const char* unit;
};

template <size_t N>
std::string scaled(double value, const std::array<Scale, N>& scales, const char* smallest) {
  if (!std::isfinite(value)) return "?";
  for (const Scale& scale : scales) {
    if (std::fabs(value) >= scale.from) return three_digits(value / scale.one) + " " + scale.unit;
  }
  std::array<char, 64> text{};
  const double whole = std::round(value);
  std::snprintf(text.data(), text.size(), "%.0f %s", whole == 0 ? 0.0 : whole, smallest);
  return text.data();
}

}  // namespace

std::string show_time(double ns) {
  static constexpr std::array<Scale, 3> kScales = {
      {{999.5e6, 1e9, "s"}, {999.5e3, 1e6, "ms"}, {999.5, 1e3, "us"}}};
  return scaled(ns, kScales, "ns");
}

std::string show_bytes(double bytes) {
  static constexpr std::array<Scale, 4> kScales = {
      {{999.5e9, 1e12, "TB"}, {999.5e6, 1e9, "GB"}, {999.5e3, 1e6, "MB"}, {999.5, 1e3, "KB"}}};
  return scaled(bytes, kScales, std::fabs(bytes) == 1 ? "byte" : "bytes");
}

std::string show_rate(double bytes_per_s) {
  static constexpr std::array<Scale, 4> kScales = {{{999.5e9, 1e12, "TB/s"},
                                                    {999.5e6, 1e9, "GB/s"},
                                                    {999.5e3, 1e6, "MB/s"},
                                                    {999.5, 1e3, "KB/s"}}};
  return scaled(bytes_per_s, kScales, "B/s");
}

std::string show_share(double share) {
  if (!std::isfinite(share)) return "?";
  const double percent = share * 100;
  const double size = std::fabs(percent);
  if (size == 0) return "0 %";
  if (size < 0.005) return percent < 0 ? "> -0.01 %" : "< 0.01 %";
  std::array<char, 64> text{};
  const char* form = size < 0.995 ? "%.2f %%" : size < 99.95 ? "%.1f %%" : "%.0f %%";
  std::snprintf(text.data(), text.size(), form, percent);
  return text.data();
}

std::string show_count(uint64_t count) {
  const std::string digits = std::to_string(count);
  std::string text;
  text.reserve(digits.size() + digits.size() / 3);
  for (size_t k = 0; k < digits.size(); ++k) {
    if (k > 0 && (digits.size() - k) % 3 == 0) text += ',';
    text += digits[k];
  }
  return text;
}

std::string show_gain(const RuleInput& input, const Finding& finding) {
  if (finding.withheld)
    return "What a fix would gain is withheld: the recording cannot be trusted that far.";
  const Saving& saving = finding.saving;
  const uint32_t steps = input.timeline.window_steps();
  const double parts = steps > 0 ? steps : 1;
  const auto figure = [&](Ns ns) { return show_time(static_cast<double>(ns) / parts); };
  std::string text = "Expected gain " + figure(saving.expected);
  if (steps > 0) text += " per step";
  if (const Ns window = input.timeline.analysed().length(); window > 0) {
    const double share = static_cast<double>(saving.expected) / static_cast<double>(window);
    text += " (" + show_share(share) + ")";
  }
  return text + ", between " + figure(saving.lower) + " and " + figure(saving.upper) + ".";
}

std::string show_source(LinkSource source, Memory memory) {
  switch (source) {
    case LinkSource::user: return "by the figure that was given";
    case LinkSource::calibration: return "by calibration";
    case LinkSource::device: return "by what the device says of its link";
    case LinkSource::topology: return "by the generation and width of its link";
    case LinkSource::trace: {
      const char* of = memory == Memory::pinned     ? "page-locked "
                       : memory == Memory::pageable ? "pageable "
                                                    : "";
      return std::string("by the trace's own fastest ") + of + "copies";
    }
    case LinkSource::none: break;
  }
  return "no figure is known";
}

}  // namespace mill::prof
