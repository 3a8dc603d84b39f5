#include "profiler/timeline/rows.h"

#include <algorithm>

namespace mill::prof {

bool zero_is_far(std::initializer_list<std::span<const Ns>> starts) {
  constexpr size_t kSample = 100'000;
  constexpr Ns kNear = 1'000'000'000;
  size_t total = 0;
  for (const auto& column : starts) total += column.size();
  const size_t stride = total / kSample + 1;
  std::vector<Ns> sample;
  for (const auto& column : starts) {
    for (size_t k = 0; k < column.size(); k += stride) {
      if (column[k] != 0) sample.push_back(std::clamp(column[k], kFirstTime, kLastTime));
    }
  }
  if (sample.empty()) return false;
  const auto quantile = [&](size_t percent) {
    const auto at =
        sample.begin() + static_cast<std::ptrdiff_t>((sample.size() - 1) * percent / 100);
    std::nth_element(sample.begin(), at, sample.end());
    return *at;
  };
  const Ns low = quantile(5);
  const Ns high = quantile(95);
  if ((low < 0) != (high < 0)) return false;
  const Ns away = low < 0 ? -high : low;
  return away > kNear && away > (high - low) / 2;
}

std::vector<std::vector<uint32_t>> rows_by_thread(const std::vector<uint32_t>& thread_of,
                                                  size_t threads) {
  std::vector<uint32_t> count(threads);
  for (const uint32_t thread : thread_of) {
    if (thread < threads) ++count[thread];
  }
  std::vector<std::vector<uint32_t>> rows(threads);
  for (size_t k = 0; k < threads; ++k) rows[k].reserve(count[k]);
  for (uint32_t row = 0; row < thread_of.size(); ++row) {
    if (thread_of[row] < threads) rows[thread_of[row]].push_back(row);
  }
  return rows;
}

}  // namespace mill::prof
