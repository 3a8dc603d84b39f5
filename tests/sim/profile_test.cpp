#include "gpu/runtime/sim/profile.h"

#include <gtest/gtest.h>

#include <cstdio>
#include <fstream>
#include <string>

#include "gpu/runtime/sim/model.h"

namespace mill::sim {
namespace {

std::string refusal(const std::string& json) {
  Profile out;
  out.name = "untouched";
  char why[512] = "";
  EXPECT_FALSE(parse_profile(json, "user.json", &out, why, sizeof why)) << json;
  EXPECT_EQ(out.name, "untouched");
  EXPECT_EQ(out.memory_bytes, 0);
  return why;
}

void expect_refusal(const std::string& json, std::initializer_list<const char*> parts) {
  const std::string why = refusal(json);
  for (const char* part : parts)
    EXPECT_NE(why.find(part), std::string::npos) << json << "\n" << why;
}

TEST(Profile, EveryBuiltInIsValidAndEveryFigureHasASource) {
  EXPECT_EQ(profile_names().size(), 8u);
  for (const char* name : profile_names()) {
    Profile it;
    char why[512] = "";
    ASSERT_TRUE(find_profile(name, &it, why, sizeof why)) << why;
    EXPECT_TRUE(check_profile(it, why, sizeof why)) << why;
    EXPECT_EQ(it.name, name);
    EXPECT_NE(it.description.find("model"), std::string::npos) << name;
    EXPECT_FALSE(it.architecture.empty());
    for (const ProfileField& field : profile_fields()) {
      const auto source = profile_source(it, field.key);
      EXPECT_GE(source.size(), 9u) << name << " " << field.key;
      // A guess says so and why.
      if (source.starts_with("estimate")) {
        EXPECT_GT(source.size(), 20u) << name << " " << field.key;
      }
    }
  }
  EXPECT_EQ(profile_source({}, "no_such_key"), "");
}

TEST(Profile, IdealCostsNothing) {
  Profile it;
  ASSERT_TRUE(builtin_profile("ideal", &it));
  for (int c = 0; c < static_cast<int>(Call::count); ++c)
    EXPECT_EQ(call_cost(it, static_cast<Call>(c)), 0);
  const Operation copy = copy_operation(it, Direction::host_to_device, true, 1000);
  EXPECT_EQ(copy.latency, 0);
  EXPECT_EQ(copy.rate, 1'000'000'000);
}

TEST(Profile, PageableCopiesGoAtTheSlowerOfLinkAndStaging) {
  Profile it;
  ASSERT_TRUE(builtin_profile("h200-sxm", &it));
  EXPECT_EQ(copy_operation(it, Direction::host_to_device, true, 1).rate, 55'600'000'000);
  EXPECT_EQ(copy_operation(it, Direction::device_to_host, false, 1).rate, it.staging_bandwidth);
  it.staging_bandwidth = 900'000'000'000;
  EXPECT_EQ(copy_operation(it, Direction::device_to_host, false, 1).rate,
            it.d2h_pageable_bandwidth);
}

TEST(Profile, H200KernelsReachWhatWasMeasured) {
  Profile it;
  ASSERT_TRUE(builtin_profile("h200-sxm", &it));
  // 4 GiB read and written; 8192^3 in bf16.
  const uint64_t bytes = uint64_t{8} << 30;
  const double copy = static_cast<double>(device_copy_operation(it, bytes / 2).latency) * 1e-12;
  EXPECT_NEAR(static_cast<double>(bytes) / copy / 4.3e12, 1.0, 0.01);
  const uint64_t flops = 2ull * 8192 * 8192 * 8192;
  const double gemm =
      static_cast<double>(
          kernel_operation(
              it, {.bytes = 0, .flops = flops, .arithmetic = Arithmetic::f16, .blocks = 1 << 20})
              .latency) *
      1e-12;
  EXPECT_NEAR(static_cast<double>(flops) / gemm / 788e12, 1.0, 0.01);
}

TEST(Profile, WorkBeyondAllReasonEndsAtTheEndOfTime) {
  Profile it;
  ASSERT_TRUE(builtin_profile("ideal", &it));
  it.f32_flops = 1'000'000;
  EXPECT_EQ(kernel_operation(it, {.flops = UINT64_MAX, .blocks = 1}).latency, kEndOfTime);
  EXPECT_EQ(kernel_operation(
                it, {.bytes = UINT64_MAX, .blocks = 1, .threads = 1 << 30, .shared_bytes = 1 << 30})
                .share,
            kFullShare);
  EXPECT_GT(device_copy_operation(it, UINT64_MAX).latency, 0);
}

TEST(Profile, AFileTakesTheRestFromItsBase) {
  Profile it;
  char why[512] = "";
  ASSERT_TRUE(parse_profile(
      R"( {"name": "mine", "base": "a100", "memory_bytes": 4.2e10, "sm_count": 54,
           "sources": {"sm_count": "half of it, \u00e9 \ud83d\ude00", "f32_flops": "guess"}} )",
      "user.json", &it, why, sizeof why))
      << why;
  EXPECT_EQ(it.name, "mine");
  EXPECT_EQ(it.architecture, "sm_80");
  EXPECT_EQ(it.description, "model on the base of a100");
  EXPECT_EQ(it.memory_bytes, 42'000'000'000);
  EXPECT_EQ(it.sm_count, 54);
  EXPECT_EQ(it.tf32_flops, 156'000'000'000'000);
  EXPECT_EQ(profile_source(it, "memory_bytes"), "file user.json");
  EXPECT_EQ(profile_source(it, "sm_count"), "half of it, \xc3\xa9 \xf0\x9f\x98\x80");
  EXPECT_EQ(profile_source(it, "f32_flops"), "guess");
}

TEST(Profile, AFileWithoutBaseGivesEverything) {
  Profile base;
  ASSERT_TRUE(builtin_profile("rtx3090", &base));
  std::string json = R"({"name":"whole","architecture":"x")";
  for (const ProfileField& field : profile_fields())
    json += ",\"" + std::string(field.key) + "\":" + std::to_string(base.*field.value);
  Profile it;
  char why[512] = "";
  ASSERT_TRUE(parse_profile(json + "}", "f", &it, why, sizeof why)) << why;
  for (const ProfileField& field : profile_fields()) EXPECT_EQ(it.*field.value, base.*field.value);
  expect_refusal(R"({"name":"part","memory_bytes":1000000000})", {"memory_bandwidth", "base"});
}

TEST(Profile, EveryFigureOutsideItsLimitsIsRefusedByName) {
  for (const ProfileField& field : profile_fields()) {
    const auto with = [&](const std::string& value) {
      return R"({"name":"x","base":"a100",")" + std::string(field.key) + "\":" + value + "}";
    };
    expect_refusal(with(std::to_string(field.low - 1)), {field.key, "limits"});
    if (field.high < INT64_MAX)
      expect_refusal(with(std::to_string(field.high + 1)),
                     {field.key, std::to_string(field.high).c_str()});
    for (const char* value : {"-1", "1e300", "-1e300", "1e999", "1e-999", "99999999999999999999"})
      if (std::string(value) != "1e-999" || field.low > 0) expect_refusal(with(value), {field.key});
    for (const char* value : {"NaN",  "nan", "Infinity", "-Infinity", "true", "null", "\"12\"",
                              "[1]",  "{}",  "1.5",      "+5",        "05",   ".5",   "5.",
                              "0x10", "1e",  "",         "1 2",       "--1",  "1,",   "1_000"})
      EXPECT_FALSE(refusal(with(value)).empty());
    expect_refusal(with("1.5"), {field.key, "1.5", "whole"});
    expect_refusal(with("NaN"), {field.key, "NaN"});
    expect_refusal(with("\"12\""), {field.key, "\"12\""});
  }
}

TEST(Profile, FiguresThatContradictEachOtherAreRefused) {
  expect_refusal(R"({"name":"x","base":"a100","shared_bytes_per_block":200000})",
                 {"shared_bytes_per_block", "200000", "shared_bytes_per_block_optin", "166912"});
  expect_refusal(R"({"name":"x","base":"a100","link_duplex_bandwidth":25000000000})",
                 {"h2d_pinned_bandwidth", "26000000000", "link_duplex_bandwidth", "25000000000"});
  expect_refusal(R"({"name":"x","base":"a100","threads_per_sm":512})",
                 {"threads_per_block", "1024", "threads_per_sm", "512"});
  expect_refusal(R"({"name":"x","base":"a100","h2d_pageable_bandwidth":27000000000})",
                 {"h2d_pageable_bandwidth"});
  expect_refusal(R"({"name":"x","base":"a100","threads_per_block":100})",
                 {"threads_per_block", "100", "32"});
  expect_refusal(R"({"name":"x","base":"a100","warp":64})", {"warp", "64", "32"});
}

TEST(Profile, HostileTextIsRefusedWithAReason) {
  const char* texts[] = {
      "",
      " ",
      "{",
      "}",
      "[]",
      "null",
      "{}",
      "{\"name\":\"x\"",
      "{\"name\":\"x\",}",
      "{\"name\":\"x\" \"base\":\"a100\"}",
      "{\"name\" \"x\"}",
      "{name:\"x\"}",
      "{'name':'x'}",
      "{\"name\":5,\"base\":\"a100\"}",
      "{\"name\":\"\",\"base\":\"a100\"}",
      "{\"name\":\"x\",\"base\":\"a100\"} x",
      "{\"name\":\"x\",\"base\":\"a100\"}{}",
      "{\"name\":\"x\",\"base\":\"nothing\"}",
      "{\"name\":\"x\",\"base\":\"x\"}",
      "{\"name\":\"x\",\"name\":\"y\",\"base\":\"a100\"}",
      "{\"name\":\"x\",\"base\":\"a100\",\"sm_count\":5,\"sm_count\":5}",
      "{\"name\":\"x\",\"base\":\"a100\",\"colour\":5}",
      "{\"name\":\"a b\",\"base\":\"a100\"}",
      "{\"name\":\"../x\",\"base\":\"a100\"}",
      "{\"name\":\"x\\u0000\",\"base\":\"a100\"}",
      "{\"name\":\"x\\q\",\"base\":\"a100\"}",
      "{\"name\":\"x\\ud800\",\"base\":\"a100\"}",
      "{\"name\":\"x\\ud800\\u0041\",\"base\":\"a100\"}",
      "{\"name\":\"x\\udc00\",\"base\":\"a100\"}",
      "{\"name\":\"x\\u12\",\"base\":\"a100\"}",
      "{\"name\":\"x\n\",\"base\":\"a100\"}",
      "{\"name\":\"\xff\",\"base\":\"a100\"}",
      "{\"name\":\"x\",\"description\":\"\xc0\x80\",\"base\":\"a100\"}",
      "{\"name\":\"x\",\"description\":\"\xed\xa0\x80\",\"base\":\"a100\"}",
      "{\"name\":\"x\",\"description\":\"\xf5\x80\x80\x80\",\"base\":\"a100\"}",
      "{\"name\":\"x\",\"description\":\"\xe2\x82",
      "{\"name\":\"x\",\"sources\":5}",
      "{\"name\":\"x\",\"base\":\"a100\",\"sources\":{\"colour\":\"red\"}}",
      "{\"name\":\"x\",\"base\":\"a100\",\"sources\":{\"sm_count\":\"\"}}",
      "{\"name\":\"x\",\"base\":\"a100\",\"sources\":{\"sm_count\":5}}",
      "{\"name\":\"x\",\"base\":\"a100\",\"sources\":{\"sm_count\":\"a\",\"sm_count\":\"b\"}}",
      "{\"name\":\"x\",\"base\":\"a100\",\"sources\":{},\"sources\":{}}",
      "\xef\xbb\xbf{\"name\":\"x\",\"base\":\"a100\"}",
      "// c\n{\"name\":\"x\",\"base\":\"a100\"}"};
  for (const char* text : texts) EXPECT_GT(refusal(text).size(), 20u) << text;
  EXPECT_FALSE(refusal(std::string(60000, '[')).empty());
  EXPECT_FALSE(refusal("{\"" + std::string(60000, 'a') + "\":1}").empty());
  EXPECT_FALSE(refusal(std::string("{\"name\":\"x\0y\"}", 14)).empty());
  expect_refusal("{\"name\":\"x\",\"base\":\"a100\",\"colour\":5}", {"colour", "user.json"});
}

TEST(Profile, EveryPrefixAndEverySingleByteChangeIsReadOrRefusedInWords) {
  const std::string good =
      R"({"name":"mine","base":"a100","memory_bytes":4.2e10,"sources":{"sm_count":"\u00e9"}})";
  for (size_t n = 0; n < good.size(); ++n) EXPECT_FALSE(refusal(good.substr(0, n)).empty());
  for (size_t at = 0; at < good.size(); ++at)
    for (int byte = 0; byte < 256; ++byte) {
      std::string text = good;
      text[at] = static_cast<char>(byte);
      Profile out;
      char why[256] = "";
      if (!parse_profile(text, "f", &out, why, sizeof why)) {
        ASSERT_NE(why[0], '\0');
      } else {
        ASSERT_TRUE(check_profile(out, why, sizeof why));
      }
    }
}

TEST(Profile, FilesAreFoundByTheirPath) {
  const std::string path = ::testing::TempDir() + "mill_profile_test.json";
  std::ofstream(path) << R"({"name":"from-file","base":"ideal","call_launch_ns":10})";
  Profile it;
  char why[512] = "";
  ASSERT_TRUE(find_profile(path.c_str(), &it, why, sizeof why)) << why;
  EXPECT_EQ(call_cost(it, Call::launch), 10 * kNanosecond);
  std::ofstream(path) << std::string(100000, ' ');
  EXPECT_FALSE(find_profile(path.c_str(), &it, why, sizeof why));
  EXPECT_NE(std::string(why).find("65536"), std::string::npos);
  std::remove(path.c_str());
  EXPECT_FALSE(find_profile(path.c_str(), &it, why, sizeof why));
  EXPECT_NE(std::string(why).find(path), std::string::npos);
  EXPECT_FALSE(find_profile(::testing::TempDir().append(".json").c_str(), &it, why, sizeof why));
}

TEST(Profile, AnUnknownNameListsThoseThereAre) {
  Profile it;
  char why[512] = "";
  for (const char* spec : {"rtx5090", "", "A100", static_cast<const char*>(nullptr)}) {
    EXPECT_FALSE(find_profile(spec, &it, why, sizeof why));
    EXPECT_NE(std::string(why).find("h200-sxm, h100-sxm, a100"), std::string::npos) << why;
  }
  char tiny[8];
  EXPECT_FALSE(find_profile("rtx5090", &it, tiny, sizeof tiny));
  EXPECT_FALSE(find_profile("rtx5090", &it, nullptr, 0));
}

}  // namespace
}  // namespace mill::sim
