// Figures as people write and read them.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace mill::cli {

std::string time_text(double ns);           // "1.93 ms"
std::string bytes_text(double bytes);       // "12.4 MB"
std::string size_text(uint64_t bytes);      // "64 KiB"
std::string rate_text(double bytes_per_s);  // "10.1 GB/s"
std::string share_text(double share);       // "33.4 %"
std::string count_text(uint64_t count);     // "75,718"
// With a sign, as differences are shown.
std::string signed_time_text(double ns);
std::string signed_share_text(double share);

// "10us", "50GB/s", "1.5x", "3%", "64KiB", "1e9": in nanoseconds, bytes, bytes a second, or as a
// plain number. Nothing where it is no finite number or the unit is unknown.
std::optional<double> parse_figure(std::string_view text);
std::optional<uint64_t> parse_natural(std::string_view text);

}  // namespace mill::cli
