#include "profiler/query/query.h"

#include <gtest/gtest.h>

#include <limits>
#include <string>
#include <string_view>
#include <vector>

#include "profiler/builder.h"
#include "profiler/query/analysis_of.h"

namespace mill::prof {
namespace {

using test::analysis_of;
using test::ms;
using test::us;

// Kernels on stream 7: a 10, 20, 30 us; b 40 us; on stream 8: a 5 us.
Analysis five_kernels() {
  test::Builder b;
  b.kernel("a", 10 * us, 100 * us, 110 * us);
  b.kernel("a", 20 * us, 200 * us, 220 * us);
  b.kernel("a", 30 * us, 300 * us, 330 * us);
  b.kernel("b", 40 * us, 400 * us, 440 * us);
  b.on(0, 8).kernel("a", 50 * us, 500 * us, 505 * us);
  return analysis_of(std::move(b.trace));
}

std::string shown(const QueryResult& result) {
  std::string out;
  for (size_t k = 0; k < result.columns.size(); ++k)
    out += (k > 0 ? "|" : "") + result.columns[k].name;
  for (uint64_t row = 0; row < result.rows; ++row) {
    out += "\n";
    for (size_t k = 0; k < result.columns.size(); ++k) {
      if (k > 0) out += "|";
      const Cell cell = result.columns[k].cells[row];
      switch (result.columns[k].kind) {
        case ValueKind::int64: out += std::to_string(cell.i); break;
        case ValueKind::uint64: out += std::to_string(cell.u); break;
        case ValueKind::real: out += std::to_string(cell.d); break;
        case ValueKind::text: out += result.text(k, row); break;
      }
    }
  }
  return out;
}

std::string ask(const Analysis& analysis, std::string_view query) {
  QueryResult result;
  std::string why;
  return run_query(analysis, query, &result, &why) ? shown(result) : "! " + why;
}
std::string ask(std::string_view query) {
  return ask(five_kernels(), query);
}

TEST(Query, GroupsFiltersOrdersAndLimits) {
  EXPECT_EQ(ask("select name, count, sum(duration_ns) from kernels where stream_number = 7 "
                "and duration_ns > 10us group by name order by -sum(duration_ns) limit 10"),
            "name|count|sum(duration_ns)\na|2|50000\nb|1|40000");
  EXPECT_EQ(ask("select name, count, sum(duration_ns) from kernels where stream_number = 7 "
                "and duration_ns > 10us group by name order by -sum(duration_ns) limit 1"),
            "name|count|sum(duration_ns)\na|2|50000");
}

TEST(Query, PartsComeInAnyOrderAndKeywordsInAnyCase) {
  EXPECT_EQ(ask("FROM kernels LIMIT 2 Order By -duration_ns SELECT Name, duration_ns "
                "WHERE stream_number = 7"),
            "name|duration_ns\nb|40000\na|30000");
}

TEST(Query, WithoutSelectThereAreAllColumnsOrTheGroupsAndTheirCount) {
  EXPECT_EQ(ask("from kernels group by stream_number, name"),
            "stream_number|name|count\n7|a|3\n7|b|1\n8|a|1");
  QueryResult result;
  std::string why;
  const Analysis analysis = five_kernels();
  ASSERT_TRUE(run_query(analysis, "from kernels", &result, &why)) << why;
  EXPECT_EQ(result.rows, 5u);
  EXPECT_EQ(result.columns.size(), TableView::open(analysis, "kernels")->columns().size());
  ASSERT_TRUE(run_query(analysis, "select *, name from kernels limit 1;", &result, &why)) << why;
  EXPECT_EQ(result.columns.back().name, "name");
}

TEST(Query, AggregatesOfAllRows) {
  // 10, 20, 30, 40, 5: sorted 5 10 20 30 40. p95 lies at 0.95 x 4 = 3.8: 30 + 0.8 x 10 = 38.
  // Deviations from the mean 21: -11 -1 9 19 -16: squares 121 1 81 361 256 = 820; / 4 = 205.
  EXPECT_EQ(ask("select count, sum(duration_ns), min(duration_ns), max(duration_ns), "
                "mean(duration_ns), median(duration_ns), p95(duration_ns) from kernels"),
            "count|sum(duration_ns)|min(duration_ns)|max(duration_ns)|mean(duration_ns)|"
            "median(duration_ns)|p95(duration_ns)\n"
            "5|105000|5000|40000|21000.000000|20000.000000|38000.000000");
  QueryResult result;
  std::string why;
  ASSERT_TRUE(run_query(five_kernels(), "select stddev(duration_ns) from kernels", &result, &why));
  EXPECT_NEAR(result.columns[0].cells[0].d, 14317.821, 0.001);  // sqrt(205) x 1000
}

TEST(Query, TheMedianOfAnEvenNumberLiesBetweenTwo) {
  EXPECT_EQ(ask("select median(duration_ns) from kernels where stream_number = 7"),
            "median(duration_ns)\n25000.000000");  // between 20 and 30
}

TEST(Query, AggregatesOfNoRowsAreOneRowOfNoughts) {
  EXPECT_EQ(ask("select count, sum(duration_ns), max(duration_ns), mean(duration_ns), "
                "median(duration_ns), stddev(duration_ns) from kernels where name = 'none'"),
            "count|sum(duration_ns)|max(duration_ns)|mean(duration_ns)|median(duration_ns)|"
            "stddev(duration_ns)\n0|0|0|0.000000|0.000000|0.000000");
  EXPECT_EQ(ask("from kernels where name = 'none' group by name"), "name|count");
  EXPECT_EQ(ask(analysis_of({}), "select name from kernels order by name"), "name");
}

TEST(Query, ConditionsNestAndBindAsUsual) {
  // and before or: (b) or (a and 8).
  EXPECT_EQ(ask("select count from kernels where name = 'b' or name = 'a' and stream_number = 8"),
            "count\n2");
  EXPECT_EQ(ask("select count from kernels where (name = 'b' or name = 'a') and "
                "stream_number = 8"),
            "count\n1");
  EXPECT_EQ(ask("select count from kernels where not name = 'a'"), "count\n1");
  EXPECT_EQ(ask("select count from kernels where not (name = 'a' and stream_number = 7)"),
            "count\n2");
}

TEST(Query, ComparesNumbersWithUnits) {
  EXPECT_EQ(ask("select count from kernels where duration_ns >= 0.02ms"), "count\n3");
  EXPECT_EQ(ask("select count from kernels where duration_ns < 10us"), "count\n1");
  EXPECT_EQ(ask("select count from kernels where duration_ns <= 10\xC2\xB5s"), "count\n2");
  EXPECT_EQ(ask("select count from kernels where duration_ns != 40000"), "count\n4");
  EXPECT_EQ(ask("select count from kernels where duration_ns <> 4e4"), "count\n4");
  EXPECT_EQ(ask("select count from kernels where duration_ns > -1"), "count\n5");
  EXPECT_EQ(ask("select count from kernels where duration_ns = 10000.5"), "count\n0");
  EXPECT_EQ(ask("select count from work where occupancy >= 0%"), "count\n5");
}

TEST(Query, SizesAndRates) {
  test::Builder b;
  // 1 MiB in 100 us: 1.048576e10 bytes/s; 1 MB in 200 us: 5e9.
  b.copy(CopyKind::host_to_device, Memory::pinned, 1 << 20, 0, us, 2 * us, 102 * us);
  b.copy(CopyKind::device_to_host, Memory::pinned, 1000000, 200 * us, 201 * us, 202 * us, 402 * us);
  const Analysis analysis = analysis_of(std::move(b.trace));
  EXPECT_EQ(ask(analysis, "select copy_kind from transfers where bytes = 1MiB"),
            "copy_kind\nhost to device");
  EXPECT_EQ(ask(analysis, "select copy_kind from transfers where bytes = 1MB"),
            "copy_kind\ndevice to host");
  EXPECT_EQ(ask(analysis, "select count from transfers where bytes_per_s > 10GB/s"), "count\n1");
  EXPECT_EQ(ask(analysis, "select count from transfers where bytes_per_s = 5GB/s"), "count\n1");
  EXPECT_EQ(ask(analysis, "select sum(bytes) from transfers"), "sum(bytes)\n2048576");
}

TEST(Query, TextsAreComparedAndSearched) {
  test::Builder b;
  b.kernel("it's", 0, 1, 2);
  b.kernel("volta_sgemm", 0, 3, 4);
  b.kernel("", 0, 5, 6);
  const Analysis analysis = analysis_of(std::move(b.trace));
  EXPECT_EQ(ask(analysis, "select start from kernels where name = 'it''s'"), "start\n1");
  EXPECT_EQ(ask(analysis, "select start from kernels where name ~ 'gemm'"), "start\n3");
  EXPECT_EQ(ask(analysis, "select count from kernels where name !~ 'gemm'"), "count\n2");
  EXPECT_EQ(ask(analysis, "select start from kernels where name = ''"), "start\n5");
  EXPECT_EQ(ask(analysis, "select name from kernels where name > 'j'"), "name\nvolta_sgemm");
  EXPECT_EQ(ask(analysis, "select count from work where kind = 'kernel' and kind != 'copy'"),
            "count\n3");
}

TEST(Query, OrdersByTextAndKeepsTheOrderOfEquals) {
  EXPECT_EQ(ask("select name, duration_ns from kernels order by name desc, duration_ns"),
            "name|duration_ns\nb|40000\na|5000\na|10000\na|20000\na|30000");
  EXPECT_EQ(ask("select duration_ns from kernels order by name asc"),
            "duration_ns\n10000\n20000\n30000\n5000\n40000");
  EXPECT_EQ(ask("select name from kernels group by name order by -max(duration_ns), count"),
            "name\nb\na");
}

TEST(Query, GroupsByTextsOfEqualWordsAsOne) {
  test::Builder b;
  b.trace.devices[b.device(1)].name = "gpu0";  // as device 0
  b.on(0).kernel("a", 0, 1, 2);
  b.on(1).kernel("a", 0, 3, 4);
  const Analysis analysis = analysis_of(std::move(b.trace));
  EXPECT_EQ(ask(analysis, "from kernels group by device_name"), "device_name|count\ngpu0|2");
  EXPECT_EQ(ask(analysis, "select device, count from kernels group by device order by device"),
            "device|count\n0|1\n1|1");
}

TEST(Query, ColumnsNamedLikeKeywordsStandInDoubleQuotes) {
  test::Builder b;
  const uint32_t row = b.trace.copies.add();
  b.trace.copies.from[row] = static_cast<uint8_t>(Memory::pageable);
  b.trace.copies.to[row] = static_cast<uint8_t>(Memory::device);
  const Analysis analysis = analysis_of(std::move(b.trace));
  EXPECT_EQ(ask(analysis, "select \"from\", to from copies where \"from\" = 'pageable'"),
            "from|to\npageable|device");
}

TEST(Query, SumsBeyondSixtyFourBitsAreTheNearestThatFits) {
  test::Builder b;
  // Three lengths of 2^62 - 1 exceed 2^63 - 1.
  for (int k = 0; k < 3; ++k) b.op("a", 0, (int64_t{1} << 62) - 1);
  b.trace.ops.bytes[0] = UINT64_MAX;
  b.trace.ops.bytes[1] = 5;
  const Analysis analysis = analysis_of(std::move(b.trace));
  EXPECT_EQ(ask(analysis, "select sum(duration_ns), sum(bytes) from ops"),
            "sum(duration_ns)|sum(bytes)\n9223372036854775807|18446744073709551615");
  EXPECT_EQ(ask(analysis, "select count from ops where bytes = 18446744073709551615"), "count\n1");
  EXPECT_EQ(ask(analysis, "select count from ops where start > -99999999999999999999"), "count\n3");
}

TEST(Query, FiguresThatAreNoNumbersDoNotSpoilTheOrder) {
  test::Builder b;
  for (int k = 0; k < 100; ++k) {
    const uint32_t row = b.kernel("a", 0, k * us, k * us + 1);
    b.trace.work.occupancy[row] =
        k % 3 == 0 ? std::numeric_limits<float>::quiet_NaN() : static_cast<float>(k) / 100;
  }
  const Analysis analysis = analysis_of(std::move(b.trace));
  // The largest figure is that of k = 98; what is no number comes after all numbers.
  EXPECT_EQ(ask(analysis, "select start from kernels order by occupancy limit 1"), "start\n1000");
  EXPECT_EQ(ask(analysis, "select count from kernels where occupancy >= 0"), "count\n66");
}

TEST(Query, FindingsAndStepsAreTablesToo) {
  test::Builder b;
  for (int k = 0; k < 4; ++k) {
    b.step(k, k * ms, (k + 1) * ms);
    b.kernel("a", k * ms + 10 * us, k * ms + 20 * us, k * ms + (k + 1) * 100 * us);
  }
  Analysis analysis = analysis_of(std::move(b.trace));
  for (const RuleId rule : {RuleId::T3, RuleId::I1}) {
    Finding& finding = analysis.findings.emplace_back();
    finding.rule = rule;
    finding.rank = static_cast<uint32_t>(analysis.findings.size());
  }
  EXPECT_EQ(ask(analysis, "select rule from findings where rank = 2"), "rule\nI1");
  EXPECT_EQ(ask(analysis, "select number from steps where warm_up = 0 order by -number limit 1"),
            "number\n3");
  // 80, 180, 280 and 380 us of kernels in the steps.
  EXPECT_EQ(ask(analysis, "select step, sum(duration_ns) from kernels group by step"),
            "step_index|sum(duration_ns)\n0|80000\n1|180000\n2|280000\n3|380000");
}

struct Mistake {
  const char* query;
  const char* sentence;
};

TEST(Query, SaysWhereAndWhatWasExpected) {
  const Mistake mistakes[] = {
      {"select name, count, sum(duration) from kernels",
       "at 25: no column \"duration\" in kernels; did you mean \"duration_ns\"?"},
      {"select nmae from kernels", "at 8: no column \"nmae\" in kernels; did you mean \"name\"?"},
      {"from kernel", "at 6: no table \"kernel\"; did you mean \"kernels\"?"},
      {"from xyzzyxyzzy", "at 6: no table \"xyzzyxyzzy\""},
      {"", "at 1: expected from and a table, found the end"},
      {"select name", "at 12: expected from and a table, found the end"},
      {"select from kernels",
       "at 8: expected a column or an aggregate (a name like a keyword goes in double quotes), "
       "found \"from\""},
      {"from kernels where", "at 19: expected a column, found the end"},
      {"from kernels where name", "at 24: expected =, !=, <, <=, >, >=, ~ or !~, found the end"},
      {"from kernels where name = ",
       "at 27: expected a number, or a text in single quotes, found the end"},
      {"from kernels where name = 5", "at 27: \"name\" is text; expected a text in single quotes"},
      {"from kernels where start = 'a'", "at 28: \"start\" is a number; expected a number"},
      {"from kernels where start ~ 5", "at 20: \"start\" is a number; ~ and !~ are for texts"},
      {"from kernels where start > 5MB", "at 28: \"start\" is a time, and this is a size"},
      {"from kernels where start > 5 lightyears",
       "at 30: expected select, from, where, group by, order by or limit, found \"lightyears\""},
      {"from kernels where start > 5parsec",
       "at 29: no unit \"parsec\"; times take ns, us, ms, s, sizes B, KB, MB, GB, KiB, MiB, GiB"},
      {"from kernels where (start > 5", "at 30: expected and, or or ), found the end"},
      {"from kernels where name = 'a", "at 27: the text has no closing single quote"},
      {"select sum(name) from kernels", "at 12: \"name\" is text; sum takes a number"},
      {"select avg(start) from kernels",
       "at 8: no aggregate \"avg\"; there are count, sum, min, max, mean, median, p95, stddev"},
      {"select sum from kernels", "at 12: expected ( and a column after sum, found \"from\""},
      {"select start, count from kernels",
       "at 8: \"start\" has many values in a group; put it in group by or in an aggregate"},
      {"from kernels group name", "at 20: expected by after group, found \"name\""},
      {"from kernels limit many", "at 20: expected a whole number after limit, found \"many\""},
      {"from kernels limit 5ms", "at 20: expected a whole number after limit, found \"5ms\""},
      {"from kernels from ops", "at 14: a second from"},
      {"from kernels limit 1 limit 2", "at 22: a second limit"},
      {"from kernels ; from ops", "at 16: expected the end of the query, found \"from\""},
      {"from kernels where name = \"a\"",
       "at 27: expected a number, or a text in single quotes, found \"\"a\"\""},
      {"from kernels where #", "at 20: \"#\" is not part of a query"},
      {"from kernels where \xFF", "at 20: byte 255 is not part of a query"},
      {"from kernels where start > 1e999", "at 28: the number is too large or too small"},
      {"select * from kernels group by name", "at 15: * goes with no aggregate and no group by"},
  };
  const Analysis analysis = five_kernels();
  for (const Mistake& mistake : mistakes)
    EXPECT_EQ(ask(analysis, mistake.query), std::string("! ") + mistake.sentence) << mistake.query;
}

TEST(Query, IsBounded) {
  const Analysis analysis = five_kernels();
  const auto nested = [](size_t depth) {
    return "select count from kernels where " + std::string(depth, '(') + "start >= 0" +
           std::string(depth, ')');
  };
  EXPECT_EQ(ask(analysis, nested(64)), "count\n5");
  EXPECT_EQ(ask(analysis, nested(65)), "! at 97: nested more than 64 deep");  // 32 + 65
  std::string nots = "select count from kernels where ";
  for (int k = 0; k < 64; ++k) nots += "not ";
  EXPECT_EQ(ask(analysis, nots + "start < 0"), "count\n0");
  EXPECT_EQ(ask(analysis, nots + "not start < 0"), "! at 289: nested more than 64 deep");

  // A long chain is no nesting.
  std::string chain = "select count from kernels where start = 1";
  while (chain.size() < kMaxQueryBytes - 20) chain += " or start=1";
  EXPECT_EQ(ask(analysis, chain), "count\n0");
  EXPECT_EQ(ask(analysis, std::string(kMaxQueryBytes + 1, ' ')),
            "! at 65537: a query has at most 65536 bytes");

  std::string items = "select start";
  for (size_t k = 1; k < kMaxQueryItems; ++k) items += ",start";
  EXPECT_EQ(ask(analysis, items + " from kernels limit 0").substr(0, 5), "start");
  EXPECT_EQ(ask(analysis, items + ",start from kernels").substr(0, 2), "! ");
}

// 100,000 names and 4,000 conditions on them would take 400 MB and as many comparisons.
TEST(Query, ConditionsOnManyTextsAreBounded) {
  test::Builder b;
  for (int k = 0; k < 100000; ++k) b.op("op " + std::to_string(k), k * us, (k + 1) * us);
  const Analysis analysis = analysis_of(std::move(b.trace));
  std::string chain = "select count from ops where name='op 1'";
  EXPECT_EQ(ask(analysis, chain + " or name = 'op 2'"), "count\n2");
  for (int k = 0; k < 4000; ++k) chain += " or name='x'";
  EXPECT_EQ(ask(analysis, chain).substr(0, 2), "! ");
  EXPECT_NE(ask(analysis, chain).find("too many conditions on texts"), std::string::npos);
}

TEST(Query, NamesTheTableThatDoesNotExist) {
  EXPECT_EQ(ask("columns kernel"), "! at 9: no table \"kernel\"; did you mean \"kernels\"?");
  EXPECT_EQ(ask("select count from kernel"),
            "! at 19: no table \"kernel\"; did you mean \"kernels\"?");
}

TEST(Query, AMillionRowsAreGroupedExactly) {
  test::Builder b;
  const uint32_t rows = 1000000;
  b.trace.ops.reserve(rows);
  uint32_t names[1000];
  for (uint32_t k = 0; k < 1000; ++k) names[k] = b.trace.strings.intern("op" + std::to_string(k));
  for (uint32_t k = 0; k < rows; ++k) {
    const uint32_t row = b.trace.ops.add();
    b.trace.ops.start[row] = k;
    b.trace.ops.end[row] = int64_t{k} + k / 1000;
    b.trace.ops.name[row] = names[k % 1000];
  }
  const Analysis analysis = analysis_of(std::move(b.trace));
  QueryResult result;
  std::string why;
  ASSERT_TRUE(run_query(analysis,
                        "select name, count, sum(duration_ns), p95(duration_ns) from ops "
                        "group by name",
                        &result, &why))
      << why;
  ASSERT_EQ(result.rows, 1000u);
  // Every name has lengths 0 to 999: their sum is 499,500; 0.95 x 999 = 949.05.
  for (size_t g = 0; g < 1000; ++g) {
    ASSERT_EQ(result.columns[1].cells[g].i, 1000);
    ASSERT_EQ(result.columns[2].cells[g].i, 499500);
    ASSERT_NEAR(result.columns[3].cells[g].d, 949.05, 1e-9);
  }
}

}  // namespace
}  // namespace mill::prof
