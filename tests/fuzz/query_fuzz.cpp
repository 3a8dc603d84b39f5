// Queries, against an analysis with something in every kind of column.
#include <cstdlib>
#include <memory>
#include <string_view>

#include "fuzz/fuzz.h"
#include "profiler/builder.h"
#include "profiler/query/query.h"

namespace {

namespace prof = mill::prof;

prof::Analysis make_analysis() {
  prof::test::Builder b;
  for (int64_t k = 0; k < 40; ++k) {
    const prof::Ns t = k * 1000;
    b.op(k % 3 == 0 ? "conv" : "linear", t, t + 900, static_cast<uint64_t>(k) + 1);
    b.kernel(k % 2 == 0 ? "gemm" : "it's", t + 100, t + 200, t + 300 + k, 50);
    b.copy(prof::CopyKind::host_to_device, prof::Memory::pinned,
           UINT64_MAX - static_cast<uint64_t>(k), t + 400, t + 500, t + 450, t + 600);
    b.trace.work.occupancy[b.trace.work.size() - 1] = static_cast<float>(k) / 40;
  }
  prof::Analysis analysis;
  const prof::LinkCounts counts = prof::link(b.trace);
  analysis.timeline = std::make_unique<const prof::Timeline>(std::move(b.trace), counts);
  analysis.findings.emplace_back().title = "title";
  return analysis;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const prof::Analysis analysis = make_analysis();
  prof::QueryResult result;
  std::string why;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  if (!prof::run_query(analysis, text, &result, &why)) {
    if (!why.starts_with("at ") || why.size() > 400) std::abort();
    return -1;
  }
  for (size_t k = 0; k < result.columns.size(); ++k) {
    if (result.columns[k].cells.size() != result.rows) std::abort();
    if (result.columns[k].kind != prof::ValueKind::text) continue;
    for (uint64_t row = 0; row < result.rows; ++row) {
      if (result.text(k, row).data() == nullptr) std::abort();
    }
  }
  return 0;
}

#ifndef MILL_LIBFUZZER
namespace {

std::vector<std::string> seeds() {
  return {
      "select name, count, sum(duration_ns) from kernels where stream_number = 7 and duration_ns > "
      "10us group by name order by -sum(duration_ns) limit 10",
      "from work where (kind = 'copy' or kind = 'kernel') and not bytes >= 1.5MiB",
      "select * from ops order by name desc, start asc limit 3;",
      "select min(start), max(end), mean(bytes), median(bytes), p95(bytes), stddev(bytes) from "
      "work",
      "select p95(occupancy), count(*) from work group by kind, copy_kind, device_name",
      "select \"from\", \"to\" from copies where \"from\" !~ 'page''able'",
      "from findings where title ~ 't' limit 1",
      "select count from transfers where bytes_per_s <= 1e3GB/s or bytes != -5",
  };
}

}  // namespace

int main(int argc, char** argv) {
  return mill::fuzz::run_mutations(
      seeds(), [](std::string&) {}, argc, argv);
}
#endif
