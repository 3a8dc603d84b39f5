#include "profiler/timeline/link_model.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <string>
#include <vector>

#include "profiler/builder.h"

namespace mill::prof::test {
namespace {

constexpr uint64_t kMega = 1'000'000;

// Copies one after the other, each of alpha + bytes / rate.
void add_copies(Builder& b, CopyKind kind, Memory memory, double alpha_ns, double bytes_per_s,
                const std::vector<uint64_t>& sizes, Ns* at) {
  for (const uint64_t bytes : sizes) {
    const Ns length = std::llround(alpha_ns + static_cast<double>(bytes) / bytes_per_s * 1e9);
    b.copy(kind, memory, bytes, *at, *at + 10, *at + 20, *at + 20 + length);
    *at += 20 + length + 1000;
  }
}

const std::vector<uint64_t> kSizes = {4096,      16 << 10,  64 << 10,   256 << 10,
                                      1 * kMega, 4 * kMega, 16 * kMega, 64 * kMega};

TEST(LinkModel, FindsTheLineThatCopiesLieOn) {
  Builder b;
  Ns at = 1000;
  add_copies(b, CopyKind::host_to_device, Memory::pinned, 8000, 24e9, kSizes, &at);
  add_copies(b, CopyKind::host_to_device, Memory::pageable, 12000, 6e9, kSizes, &at);
  add_copies(b, CopyKind::device_to_host, Memory::pinned, 9000, 20e9, kSizes, &at);
  const LinkModel model = LinkModel::of(b.trace, nullptr);
  const LinkLine up = model.line(b.trace, 0, CopyKind::host_to_device, Memory::pinned);
  EXPECT_EQ(up.source, LinkSource::trace);
  EXPECT_EQ(up.copies, 8u);
  EXPECT_NEAR(up.alpha_ns, 8000, 80);
  EXPECT_NEAR(up.bytes_per_s, 24e9, 24e7);
  EXPECT_NEAR(up.bytes_per_s_low, 24e9, 24e7);
  // 8,000 + 24e6 / 24e9 s = 1,008,000 ns.
  EXPECT_NEAR(up.time_ns(24'000'000), 1'008'000, 10'080);
  const LinkLine pageable = model.line(b.trace, 0, CopyKind::host_to_device, Memory::pageable);
  EXPECT_NEAR(pageable.alpha_ns, 12000, 120);
  EXPECT_NEAR(pageable.bytes_per_s, 6e9, 6e7);
  const LinkLine down = model.line(b.trace, 0, CopyKind::device_to_host, Memory::pinned);
  EXPECT_NEAR(down.bytes_per_s, 20e9, 2e8);
}

TEST(LinkModel, PageableCopiesSayNothingOfPinnedOnes) {
  Builder b;
  Ns at = 1000;
  add_copies(b, CopyKind::host_to_device, Memory::pageable, 12000, 6e9, kSizes, &at);
  const LinkModel model = LinkModel::of(b.trace, nullptr);
  const LinkLine line = model.line(b.trace, 0, CopyKind::host_to_device, Memory::pinned);
  EXPECT_EQ(line.source, LinkSource::none);
  EXPECT_EQ(line.time_ns(1000), -1);
  EXPECT_EQ(line.time_low_ns(1000), -1);
  EXPECT_EQ(model.line(b.trace, 0, CopyKind::device_to_host, Memory::pageable).source,
            LinkSource::none);
  EXPECT_EQ(model.line(b.trace, 7, CopyKind::host_to_device, Memory::pageable).source,
            LinkSource::none);
}

TEST(LinkModel, RatesReachWhatTheFastestLargeCopiesDid) {
  // 18 copies of 10 MB at 10 GB/s and 2 at 20 GB/s: the 95th percentile of the rates lies 0.05 of
  // the way from the 18th to the 19th of 0..19, that is, position 18.05, where all are 20 GB/s.
  Builder b;
  Ns at = 1000;
  add_copies(b, CopyKind::host_to_device, Memory::pinned, 0, 10e9,
             std::vector<uint64_t>(18, 10 * kMega), &at);
  add_copies(b, CopyKind::host_to_device, Memory::pinned, 0, 20e9,
             std::vector<uint64_t>(2, 10 * kMega), &at);
  const LinkLine line =
      LinkModel::of(b.trace, nullptr).line(b.trace, 0, CopyKind::host_to_device, Memory::pinned);
  EXPECT_NEAR(line.bytes_per_s, 20e9, 1e7);
  EXPECT_NEAR(line.bytes_per_s_low, 10e9, 1e7);
  EXPECT_GE(line.alpha_ns, 0);
  // 10 MB at 10 GB/s.
  EXPECT_NEAR(line.time_low_ns(10 * kMega), 1e6, 1e4);
}

TEST(LinkModel, CopiesThatShareTheLinkAreLeftOut) {
  // Two copies at the same time in both directions at half the rate, and one alone.
  Builder b;
  b.copy(CopyKind::host_to_device, Memory::pinned, 10 * kMega, 0, 10, 100, 100 + 2 * ms);
  b.on(0, 8).copy(CopyKind::device_to_host, Memory::pinned, 10 * kMega, 0, 10, 100 + ms,
                  100 + 3 * ms);
  b.on(0, 7).copy(CopyKind::host_to_device, Memory::pinned, 10 * kMega, 4 * ms, 4 * ms + 10, 5 * ms,
                  6 * ms);
  const LinkModel model = LinkModel::of(b.trace, nullptr);
  const LinkLine up = model.line(b.trace, 0, CopyKind::host_to_device, Memory::pinned);
  EXPECT_EQ(up.copies, 1u);
  EXPECT_NEAR(up.bytes_per_s, 10e9, 1e6);
  EXPECT_EQ(model.line(b.trace, 0, CopyKind::device_to_host, Memory::pinned).source,
            LinkSource::none);
}

TEST(LinkModel, AFewStragglersDoNotMoveTheLine) {
  Builder b;
  Ns at = 1000;
  for (int k = 0; k < 5; ++k)
    add_copies(b, CopyKind::host_to_device, Memory::pinned, 8000, 24e9, kSizes, &at);
  // As slow as if something else had used the link all the time.
  add_copies(b, CopyKind::host_to_device, Memory::pinned, 300'000, 3e9, {4096, kMega, 4 * kMega},
             &at);
  const LinkLine line =
      LinkModel::of(b.trace, nullptr).line(b.trace, 0, CopyKind::host_to_device, Memory::pinned);
  EXPECT_NEAR(line.alpha_ns, 8000, 800);
  EXPECT_NEAR(line.bytes_per_s, 24e9, 24e8);
}

TEST(LinkModel, SmallCopiesTellOnlyWhatACopyCosts) {
  Builder b;
  Ns at = 1000;
  add_copies(b, CopyKind::host_to_device, Memory::pinned, 5000, 20e9, {4, 64, 1024, 4}, &at);
  const LinkLine line =
      LinkModel::of(b.trace, nullptr).line(b.trace, 0, CopyKind::host_to_device, Memory::pinned);
  EXPECT_EQ(line.source, LinkSource::none);
  EXPECT_NEAR(line.alpha_ns, 5000, 60);
  EXPECT_EQ(line.time_ns(kMega), -1);
}

TEST(LinkModel, TakesTheBestSourceThereIs) {
  Builder b;
  Ns at = 1000;
  add_copies(b, CopyKind::host_to_device, Memory::pinned, 8000, 12e9, kSizes, &at);
  const auto line = [&](const LinkModel& model) {
    return model.line(b.trace, 0, CopyKind::host_to_device, Memory::pinned);
  };
  EXPECT_EQ(line(LinkModel::of(b.trace, nullptr)).source, LinkSource::trace);
  // Generation 4, 16 lanes, 0.85 of 16 * 1,969 MB/s = 26.8 GB/s; what a copy costs is the trace's.
  b.trace.devices[0].link_generation = 4;
  b.trace.devices[0].link_width = 16;
  LinkLine found = line(LinkModel::of(b.trace, nullptr));
  EXPECT_EQ(found.source, LinkSource::topology);
  EXPECT_NEAR(found.bytes_per_s, 0.85 * 16 * 1969e6, 3e7);
  EXPECT_NEAR(found.alpha_ns, 8000, 80);
  b.trace.devices[0].to_device_bytes_per_s = 25e9;
  found = line(LinkModel::of(b.trace, nullptr));
  EXPECT_EQ(found.source, LinkSource::device);
  EXPECT_EQ(found.bytes_per_s, 25e9);
  // A model of another trace knows the devices of this one.
  EXPECT_EQ(line(LinkModel()).source, LinkSource::device);
  LinkModel calibration;
  LinkLine measured;
  measured.device = LinkModel::kAnyDevice;
  measured.kind = CopyKind::host_to_device;
  measured.memory = Memory::pinned;
  measured.bytes_per_s = 24e9;
  measured.source = LinkSource::calibration;
  calibration.add(measured);
  measured.device = 0;
  measured.bytes_per_s = 23e9;
  calibration.add(measured);
  calibration.host_copy_bytes_per_s = 5e9;
  LinkModel model = LinkModel::of(b.trace, &calibration);
  EXPECT_EQ(line(model).source, LinkSource::calibration);
  EXPECT_EQ(line(model).bytes_per_s, 23e9);  // its own rather than any device's
  EXPECT_EQ(model.host_copy_bytes_per_s, 5e9);
  measured.source = LinkSource::user;
  measured.bytes_per_s = 50e9;
  model.add(measured);
  EXPECT_EQ(line(model).source, LinkSource::user);
  // Lines come in order of their sources.
  const LinkModel sorted = LinkModel::of(b.trace, &model);
  for (size_t k = 1; k < sorted.lines().size(); ++k)
    EXPECT_LE(sorted.lines()[k - 1].source, sorted.lines()[k].source);
}

TEST(LinkModel, DeviceLimitsAreOfPinnedMemoryOnly) {
  Builder b;
  b.trace.devices[0].to_host_bytes_per_s = 25e9;
  b.trace.devices[0].memory_bytes_per_s = 900e9;
  const LinkModel model = LinkModel::of(b.trace, nullptr);
  EXPECT_EQ(model.line(b.trace, 0, CopyKind::device_to_host, Memory::pinned).bytes_per_s, 25e9);
  EXPECT_EQ(model.line(b.trace, 0, CopyKind::device_to_host, Memory::pageable).source,
            LinkSource::none);
  // A copy on the device reads and writes: half of its memory's rate.
  EXPECT_EQ(model.line(b.trace, 0, CopyKind::on_device, Memory::unknown).bytes_per_s, 450e9);
}

// Nothing went to the device from pinned memory, but something came back: what a copy costs beside
// its bytes is taken from there, and the rate is the device's own.
TEST(LinkModel, ACostPerCopyIsTakenFromTheOtherDirectionWhereThisOneHasNone) {
  Builder b;
  Ns at = 1000;
  b.trace.devices[0].to_device_bytes_per_s = 25e9;
  add_copies(b, CopyKind::host_to_device, Memory::pageable, 30'000, 5e9, kSizes, &at);
  const auto up = [&] {
    return LinkModel::of(b.trace, nullptr)
        .line(b.trace, 0, CopyKind::host_to_device, Memory::pinned);
  };
  EXPECT_EQ(up().alpha_ns, 0) << "pageable copies say nothing of pinned ones";
  add_copies(b, CopyKind::device_to_host, Memory::pinned, 1500, 20e9, kSizes, &at);
  EXPECT_NEAR(up().alpha_ns, 1500, 15);
  EXPECT_EQ(up().bytes_per_s, 25e9);
  EXPECT_EQ(up().source, LinkSource::device);
  add_copies(b, CopyKind::host_to_device, Memory::pinned, 8000, 12e9, kSizes, &at);
  EXPECT_NEAR(up().alpha_ns, 8000, 80) << "its own where it has one";
}

TEST(LinkModel, ReadsBackWhatItWrote) {
  Builder b;
  Ns at = 1000;
  add_copies(b, CopyKind::host_to_device, Memory::pinned, 8000, 24e9, kSizes, &at);
  LinkModel model = LinkModel::of(b.trace, nullptr);
  LinkLine any;
  any.device = LinkModel::kAnyDevice;
  any.kind = CopyKind::device_to_host;
  any.memory = Memory::pageable;
  any.bytes_per_s = 1.0 / 3.0 * 1e10;
  any.source = LinkSource::calibration;
  model.add(any);
  model.pin_ns = 12345.5;
  model.stream_bytes_per_s = 40e9;
  LinkModel back;
  std::string why;
  ASSERT_TRUE(LinkModel::read(model.write(), &back, &why)) << why;
  EXPECT_EQ(back.pin_ns, 12345.5);
  EXPECT_EQ(back.stream_bytes_per_s, 40e9);
  ASSERT_EQ(back.lines().size(), 2u);
  for (size_t k = 0; k < 2; ++k) {
    EXPECT_EQ(back.lines()[k].source, LinkSource::calibration);
    EXPECT_EQ(back.lines()[k].alpha_ns, model.lines()[k].alpha_ns);
    EXPECT_EQ(back.lines()[k].bytes_per_s, model.lines()[k].bytes_per_s);
    EXPECT_EQ(back.lines()[k].kind, model.lines()[k].kind);
    EXPECT_EQ(back.lines()[k].memory, model.lines()[k].memory);
    EXPECT_EQ(back.lines()[k].device, model.lines()[k].device);
  }
  EXPECT_EQ(back.write(), model.write());
}

TEST(LinkModel, SaysInWordsWhatIsWrongWithAFile) {
  const auto why_not = [](const std::string& json) {
    LinkModel model;
    model.pin_ns = 1;
    std::string why;
    EXPECT_FALSE(LinkModel::read(json, &model, &why)) << json;
    EXPECT_EQ(model.pin_ns, 1);  // as it was
    return why;
  };
  EXPECT_NE(why_not("").find("at byte 0"), std::string::npos);
  EXPECT_NE(why_not("{\"a\": }").find("at byte 6"), std::string::npos);
  EXPECT_NE(why_not("[1]").find("not a JSON object"), std::string::npos);
  EXPECT_NE(why_not("{}").find("millrace_link_calibration"), std::string::npos);
  const std::string begin = "{\"millrace_link_calibration\": ";
  EXPECT_NE(why_not(begin + "7}").find("version 7"), std::string::npos);
  EXPECT_NE(why_not(begin + "1, \"pin_ns\": \"x\"}").find("\"pin_ns\" is not a number"),
            std::string::npos);
  EXPECT_NE(why_not(begin + "1, \"pin_ns\": -5}").find("-5"), std::string::npos);
  EXPECT_NE(why_not(begin + "1, \"lines\": 3}").find("not an array"), std::string::npos);
  EXPECT_NE(why_not(begin + "1, \"lines\": [3]}").find("line 1"), std::string::npos);
  const std::string line = begin + "1, \"lines\": [{\"kind\": \"host_to_device\", ";
  EXPECT_NE(why_not(line + "\"bytes_per_s\": 0}]}").find("not above 0"), std::string::npos);
  EXPECT_NE(why_not(line + "\"bytes_per_s\": 1e99}]}").find("not between"), std::string::npos);
  EXPECT_NE(why_not(line + "\"device\": -1, \"bytes_per_s\": 1}]}").find("device number"),
            std::string::npos);
  EXPECT_NE(why_not(line + "\"memory\": \"x\", \"bytes_per_s\": 1}]}").find("memory"),
            std::string::npos);
  EXPECT_NE(why_not(begin + "1, \"lines\": [{\"kind\": 4}]}").find("kind"), std::string::npos);
  // Deeper than any stack.
  EXPECT_FALSE(why_not(std::string(200'000, '[')).empty());
  std::string why;
  LinkModel model;
  EXPECT_TRUE(LinkModel::read(begin + "1}", &model, &why)) << why;
}

TEST(LinkModel, RowsOfAnyKindGiveFiniteLines) {
  Builder b;
  b.copy(CopyKind::host_to_device, Memory::pinned, UINT64_MAX, 0, 1, 0, 1);
  b.copy(CopyKind::host_to_device, Memory::pinned, 0, 0, 1, 10, 11);
  b.copy(CopyKind::host_to_device, Memory::pinned, 5, 0, 1, 20, 20);
  b.copy(CopyKind::host_to_device, Memory::pinned, 5, 0, 1, 40, 30);
  b.copy(CopyKind::host_to_device, Memory::pinned, kMega, 0, 1, INT64_MIN, INT64_MAX);
  b.copy(CopyKind::device_to_host, Memory::pinned, kMega, 0, 1, INT64_MAX - 5, INT64_MAX);
  b.copy(static_cast<CopyKind>(200), static_cast<Memory>(99), kMega, 0, 1, 50, 60);
  b.trace.work.device[0] = kNoRow;
  b.trace.devices[0].link_generation = UINT32_MAX;
  b.trace.devices[0].link_width = UINT32_MAX;
  b.trace.devices[0].to_device_bytes_per_s = std::nan("");
  const LinkModel model = LinkModel::of(b.trace, nullptr);
  for (const LinkLine& line : model.lines()) {
    EXPECT_TRUE(std::isfinite(line.alpha_ns));
    EXPECT_TRUE(std::isfinite(line.bytes_per_s));
    EXPECT_GE(line.alpha_ns, 0);
  }
  const LinkLine line = model.line(b.trace, 0, CopyKind::host_to_device, Memory::pinned);
  EXPECT_TRUE(std::isfinite(line.time_ns(kMega)));
  EXPECT_STREQ(link_source_name(line.source), link_source_name(line.source));
}

}  // namespace
}  // namespace mill::prof::test
