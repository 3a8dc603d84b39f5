#include "io/safetensors.h"

#include <gtest/gtest.h>
#include <stdexcept>
#include <thread>

#include "base/dtype.h"
#include "io/bytes.h"
#include "io/temp_dir.h"

namespace mill {
namespace {

std::string le64(uint64_t value) {
  std::string bytes(8, 0);
  for (char& c : bytes) {
    c = static_cast<char>(value);
    value >>= 8;
  }
  return bytes;
}

std::string file_of(const std::string& header, const std::string& data) {
  return le64(header.size()) + header + data;
}

constexpr int32_t kWritable[] = {MILL_BOOL, MILL_U8,     MILL_I8,     MILL_U16, MILL_I16,  MILL_U32,
                                 MILL_I32,  MILL_U64,    MILL_I64,    MILL_F16, MILL_BF16, MILL_F32,
                                 MILL_F64,  MILL_F8E4M3, MILL_F8E5M2, MILL_C64};

std::string pattern(uint64_t bytes, int32_t dtype) {
  std::string data(bytes, 0);
  for (size_t i = 0; i < bytes; ++i) {
    const uint64_t mixed = (i + 1) * 0x9e3779b97f4a7c15u >> 32;
    data[i] = static_cast<char>(dtype == MILL_BOOL ? mixed & 1u : mixed);
  }
  return data;
}

std::string read_tensor(const SafetensorsFile& file, uint64_t index) {
  std::string data(file.entry(index).bytes, '\x5a');
  file.read(index, data.data(), data.size());
  return data;
}

TEST(Safetensors, RoundTripsEveryDtypeFromMemoryAndFromASource) {
  const TempDir dir;
  const int64_t dims[3] = {3, 1, 5};
  for (const bool by_source : {false, true}) {
    SafetensorsWriter writer;
    std::vector<std::string> data;
    for (const int32_t dtype : kWritable)
      data.push_back(pattern(static_cast<uint64_t>(15 * dtype_size(dtype)), dtype));
    for (size_t i = 0; i < data.size(); ++i) {
      const std::string name = std::string("t.") + dtype_name(kWritable[i]);
      if (by_source) {
        writer.add(name, kWritable[i], 3, dims, [&, i](uint64_t offset, void* to, uint64_t bytes) {
          data[i].copy(static_cast<char*>(to), bytes, offset);
        });
      } else {
        writer.add(name, kWritable[i], 3, dims, data[i].data());
      }
    }
    writer.write(dir / "x");
    const SafetensorsFile file(dir / "x");
    ASSERT_EQ(file.count(), data.size());
    for (size_t i = 0; i < data.size(); ++i) {
      const SafetensorsEntry& entry = file.entry(i);
      EXPECT_EQ(entry.name, std::string("t.") + dtype_name(kWritable[i]));
      EXPECT_EQ(entry.dtype, kWritable[i]);
      EXPECT_EQ(entry.rank, 3u);
      EXPECT_TRUE(std::equal(dims, dims + 3, entry.dims));
      EXPECT_EQ(file.find(entry.name), static_cast<int64_t>(i));
      EXPECT_EQ(read_tensor(file, i), data[i]);
    }
    EXPECT_EQ(file.find("t."), -1);
    EXPECT_EQ(dir.files(), 1u);
  }
}

TEST(Safetensors, WritesTheDocumentedBytes) {
  const TempDir dir;
  const uint8_t scalar = 7;
  const uint8_t pair[2] = {8, 9};
  const int64_t dims[1] = {2};
  SafetensorsWriter writer;
  writer.metadata("k", "v\n\"");
  writer.add("b", MILL_U8, 0, nullptr, &scalar);
  writer.add("a", MILL_U8, 1, dims, pair);
  writer.write(dir / "x");
  std::string header =
      "{\"__metadata__\":{\"k\":\"v\\u000a\\\"\"},\"b\":{\"dtype\":\"U8\",\"shape\":[],\"data_"
      "offsets\":[0,1]},"
      "\"a\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[1,3]}}";
  header.resize((header.size() + 7) / 8 * 8, ' ');
  EXPECT_EQ(read_bytes(dir / "x"), file_of(header, "\x07\x08\x09"));
}

TEST(Safetensors, HoldsScalarsEmptyTensorsAndNothingAtAll) {
  const TempDir dir;
  SafetensorsWriter().write(dir / "nothing");
  EXPECT_EQ(SafetensorsFile(dir / "nothing").count(), 0u);
  const double scalar = 2.5;
  const int64_t empty[2] = {0, 4};
  SafetensorsWriter writer;
  writer.add("before", MILL_F32, 2, empty, nullptr);
  writer.add("scalar", MILL_F64, 0, nullptr, &scalar);
  writer.add("after", MILL_F32, 2, empty, nullptr);
  writer.write(dir / "x");
  const SafetensorsFile file(dir / "x");
  double back = 0;
  file.read(1, &back, sizeof back);
  EXPECT_EQ(back, scalar);
  EXPECT_EQ(file.entry(1).rank, 0u);
  EXPECT_EQ(file.entry(2).bytes, 0u);
  file.read(2, nullptr, 0);
}

TEST(Safetensors, KeepsMetadataAndUnicodeNames) {
  const TempDir dir;
  const std::string name = "l\xc3\xa4yer \"\\\x01/\xf0\x9f\x98\x80";
  const float value = 1;
  SafetensorsWriter writer;
  writer.metadata("format", "pt");
  writer.metadata("", "\xe2\x82\xac");
  writer.add(name, MILL_F32, 0, nullptr, &value);
  writer.write(dir / "x");
  const SafetensorsFile file(dir / "x");
  EXPECT_EQ(file.find(name), 0);
  ASSERT_EQ(file.metadata_count(), 2u);
  EXPECT_EQ(file.metadata(0).first, "format");
  EXPECT_EQ(*file.find_metadata(""), "\xe2\x82\xac");
  EXPECT_EQ(file.find_metadata("other"), nullptr);
}

TEST(Safetensors, ReadsAnyFieldOrderWhiteSpaceAndEscapes) {
  const TempDir dir;
  const std::string header =
      "{ \"\\u00e4\\ud83d\\ude00\\/\\b\\f\\n\\r\\t\\\"\\\\\" :\n{\"data_offsets\" : [2 , "
      "4],\t\"dtype\":\"U8\",\"shape\":[ 2 ]},"
      "\"first\":{\"shape\":[1],\"dtype\":\"F16\",\"data_offsets\":[0,2]} }  \r\n";
  write_bytes(dir / "x", file_of(header, "abcd"));
  const SafetensorsFile file(dir / "x");
  ASSERT_EQ(file.count(), 2u);
  EXPECT_EQ(file.entry(0).name, "\xc3\xa4\xf0\x9f\x98\x80/\b\f\n\r\t\"\\");
  EXPECT_EQ(read_tensor(file, 0), "cd");
  EXPECT_EQ(read_tensor(file, 1), "ab");
}

TEST(Safetensors, ReadsPartsWithinATensorOnly) {
  const TempDir dir;
  const int64_t dims[1] = {6};
  SafetensorsWriter writer;
  writer.add("a", MILL_U8, 1, dims, "abcdef");
  writer.add("b", MILL_U8, 1, dims, "ghijkl");
  writer.write(dir / "x");
  const SafetensorsFile file(dir / "x");
  char part[4] = {};
  file.read_part(1, 2, part, 3);
  EXPECT_STREQ(part, "ijk");
  file.read_part(1, 6, part, 0);
  expect_failure(MILL_E_ARG, {"3 bytes from byte 4", "\"a\"", "6 bytes"},
                 [&] { file.read_part(0, 4, part, 3); });
  expect_failure(MILL_E_ARG, {"from byte 7"}, [&] { file.read_part(0, 7, part, ~uint64_t{0}); });
  expect_failure(MILL_E_ARG, {"has 5 bytes", "have 6"}, [&] { file.read(0, part, 5); });
}

TEST(Safetensors, ServesSeveralThreads) {
  const TempDir dir;
  const int64_t dims[1] = {100000};
  const std::string data = pattern(100000, MILL_U8);
  SafetensorsWriter writer;
  writer.add("a", MILL_U8, 1, dims, data.data());
  writer.write(dir / "x");
  const SafetensorsFile file(dir / "x");
  std::vector<std::string> results(4);
  std::vector<std::thread> threads;
  for (std::string& result : results) threads.emplace_back([&] { result = read_tensor(file, 0); });
  for (std::thread& thread : threads) thread.join();
  for (const std::string& result : results) EXPECT_TRUE(result == data);
}

TEST(Safetensors, ReadsEveryBoolButZeroAsOne) {
  const TempDir dir;
  write_bytes(dir / "x", file_of(R"({"m":{"dtype":"BOOL","shape":[4],"data_offsets":[0,4]}})",
                                 std::string("\0\1\3\0", 4)));
  const SafetensorsFile file(dir / "x");
  char values[4];
  file.read(0, values, sizeof values);
  EXPECT_EQ(std::string(values, 4), std::string("\0\1\1\0", 4));
}

std::string entry(const std::string& name, const std::string& dtype, const std::string& shape,
                  const std::string& range) {
  return "\"" + name + "\":{\"dtype\":\"" + dtype + "\",\"shape\":[" + shape +
         "],\"data_offsets\":[" + range + "]}";
}

std::string one(const std::string& dtype, const std::string& shape, const std::string& range,
                size_t data) {
  return file_of("{" + entry("w", dtype, shape, range) + "}", std::string(data, 'x'));
}

struct Hostile {
  const char* what;
  std::string bytes;
  std::vector<std::string> parts;
};

std::vector<Hostile> hostile_files() {
  const auto raw = [](const std::string& header) { return file_of(header, ""); };
  const auto named = [](const std::string& name) {
    return file_of("{\"" + name + R"(":{"dtype":"U8","shape":[],"data_offsets":[0,1]}})", "x");
  };
  const std::string deep(100000, '[');
  return {
      {"empty file", "", {"holds 0 bytes", "of 8"}},
      {"seven bytes", "1234567", {"holds 7 bytes"}},
      {"absurd header length", le64(~uint64_t{0}), {"18446744073709551615", "100000000"}},
      {"length above the limit", le64(100000001) + "{}", {"100000001", "limit of 100000000"}},
      {"length beyond the file", le64(3) + "{}", {"length is 3 bytes", "holds 2"}},
      {"empty header", raw(""), {"does not begin with '{'"}},
      {"leading space", raw(" {}"), {"does not begin with '{'"}},
      {"array", raw("[]"), {"does not begin with '{'"}},
      {"unclosed", raw("{"), {"ends at byte 1"}},
      {"text after the end", raw("{} {"), {"byte 3", "'{'", "its end"}},
      {"NUL padding", raw(std::string("{}\0", 3)), {"byte 2", "its end"}},
      {"trailing comma", raw("{\"__metadata__\":{},}"), {"a string"}},
      {"no colon", raw("{\"a\" {}}"), {"'{'", "':'"}},
      {"tensor is a number", raw("{\"a\":1}"), {"'1'", "'{'"}},
      {"deep nesting", raw("{\"a\":" + deep), {"byte 5", "'['", "'{'"}},
      {"deep shape", raw(R"({"a":{"dtype":"U8","shape":[)" + deep), {"'['", "whole number"}},
      {"metadata is no object", raw("{\"__metadata__\":1}"), {"'1'", "'{'"}},
      {"metadata value is no string", raw("{\"__metadata__\":{\"a\":1}}"), {"'1'", "a string"}},
      {"metadata nested", raw("{\"__metadata__\":{\"a\":{}}}"), {"'{'", "a string"}},
      {"metadata twice",
       raw("{\"__metadata__\":{},\"__metadata__\":{}}"),
       {"__metadata__", "twice"}},
      {"metadata key twice", raw(R"({"__metadata__":{"k":"1","k":"2"}})"), {"\"k\"", "twice"}},
      {"duplicate name",
       file_of("{" + entry("w", "U8", "1", "0,1") + "," + entry("w", "U8", "1", "1,2") + "}", "xx"),
       {"\"w\"", "twice"}},
      {"duplicate name by escape",
       file_of("{" + entry("w", "U8", "1", "0,1") + "," + entry("\\u0077", "U8", "1", "1,2") + "}",
               "xx"),
       {"\"w\"", "twice"}},
      {"field twice", raw(R"({"w":{"dtype":"U8","dtype":"U8"}})"), {"\"w\"", "\"dtype\" twice"}},
      {"unknown field", raw(R"({"w":{"dtype":"U8","stride":[1]}})"), {"\"w\"", "\"stride\""}},
      {"no dtype",
       raw(R"({"w":{"shape":[],"data_offsets":[0,1]}})"),
       {"\"w\"", "no field \"dtype\""}},
      {"no shape",
       raw(R"({"w":{"dtype":"U8","data_offsets":[0,1]}})"),
       {"\"w\"", "no field \"shape\""}},
      {"no offsets",
       raw(R"({"w":{"dtype":"U8","shape":[]}})"),
       {"\"w\"", "no field \"data_offsets\""}},
      {"empty object", raw("{\"w\":{}}"), {"'}'", "a string"}},
      {"unknown dtype", one("F7", "1", "0,1", 1), {"\"w\"", "unknown dtype \"F7\""}},
      {"unsupported dtype", one("F8_E8M0", "1", "0,1", 1), {"\"w\"", "unknown dtype \"F8_E8M0\""}},
      {"lower case dtype", one("f32", "1", "0,4", 4), {"unknown dtype \"f32\""}},
      {"rank 9", one("U8", "1,1,1,1,1,1,1,1,1", "0,1", 1), {"\"w\"", "more than 8"}},
      {"negative size", one("U8", "-1", "0,1", 1), {"'-'", "whole number"}},
      {"fraction", one("U8", "1.0", "0,1", 1), {"'.'"}},
      {"exponent", one("U8", "1e0", "0,1", 1), {"'e'"}},
      {"leading zero", one("U8", "01", "0,1", 1), {"leading zeros"}},
      {"number above the limit",
       one("U8", "9223372036854775808", "0,1", 1),
       {"exceeds", "9223372036854775807"}},
      {"shape overflow",
       one("U8", "4294967296,4294967296", "0,1", 1),
       {"\"w\"", "[4294967296,4294967296]"}},
      {"byte overflow", one("F64", "2305843009213693952", "0,1", 1), {"[2305843009213693952]"}},
      {"overflow beside a zero",
       one("U8", "0,4294967296,4294967296", "0,0", 0),
       {"[0,4294967296,4294967296]"}},
      {"three offsets", one("U8", "1", "0,1,2", 1), {"','", "']'"}},
      {"one offset", one("U8", "1", "0", 1), {"','"}},
      {"reversed range", one("U8", "1", "1,0", 1), {"ends at byte 0", "beginning at 1"}},
      {"range too short",
       one("F32", "2,3", "0,20", 20),
       {"\"w\"", "f32 of shape [2,3]", "24 bytes", "hold 20"}},
      {"range too long", one("F32", "2", "0,12", 12), {"\"w\"", "8 bytes", "hold 12"}},
      {"beyond the file", one("U8", "9", "0,9", 8), {"\"w\"", "ends at byte 9", "holds 8"}},
      {"far beyond the file",
       one("U8", "9223372036854775807", "0,9223372036854775807", 8),
       {"holds 8"}},
      {"trailing data", one("U8", "8", "0,8", 9), {"end at byte 8", "holds 9"}},
      {"data without tensors", file_of("{}", "x"), {"end at byte 0", "holds 1"}},
      {"starts late", one("U8", "1", "1,2", 2), {"begins at byte 1", "end at 0"}},
      {"hole",
       file_of("{" + entry("a", "U8", "1", "0,1") + "," + entry("b", "U8", "1", "2,3") + "}",
               "xxx"),
       {"\"b\"", "begins at byte 2", "end at 1"}},
      {"overlap",
       file_of("{" + entry("a", "U8", "2", "0,2") + "," + entry("b", "U8", "2", "1,3") + "}",
               "xxx"),
       {"\"b\"", "begins at byte 1", "end at 2"}},
      {"same range",
       file_of("{" + entry("a", "U8", "2", "0,2") + "," + entry("b", "U8", "2", "0,2") + "}", "xx"),
       {"begins at byte 0", "end at 2"}},
      {"empty tensor inside another",
       file_of("{" + entry("a", "U8", "2", "0,2") + "," + entry("b", "U8", "0", "1,1") + "}", "xx"),
       {"\"b\"", "begins at byte 1", "end at 2"}},
      {"invalid UTF-8", named("\xff"), {"not UTF-8"}},
      {"overlong UTF-8", named("\xc0\xaf"), {"not UTF-8"}},
      {"overlong UTF-8 of three bytes", named("\xe0\x80\xaf"), {"not UTF-8"}},
      {"encoded surrogate", named("\xed\xa0\x80"), {"not UTF-8"}},
      {"cut UTF-8", named("\xe2\x82"), {"not UTF-8"}},
      {"above U+10FFFF", named("\xf4\x90\x80\x80"), {"not UTF-8"}},
      {"control character", named("\n"), {"control character"}},
      {"unknown escape", named("\\x41"), {"'x'", "an escape"}},
      {"short escape", named("\\u12"), {"hexadecimal"}},
      {"escaped NUL", named("a\\u0000"), {"NUL"}},
      {"lone high surrogate", named("\\ud800x"), {"low surrogate"}},
      {"lone low surrogate", named("\\udc00"), {"high surrogate"}},
      {"two high surrogates", named("\\ud800\\ud800"), {"low surrogate"}},
      {"unclosed string", raw("{\"abc"), {"ends at byte 5", "end of a string"}},
      {"unclosed escape", raw("{\"abc\\"), {"ends at byte 6", "an escape"}},
  };
}

TEST(Safetensors, RefusesHostileFilesNamingTheFileAndBothValues) {
  const TempDir dir;
  for (const Hostile& hostile : hostile_files()) {
    SCOPED_TRACE(hostile.what);
    write_bytes(dir / "model.st", hostile.bytes);
    std::vector<std::string> parts = hostile.parts;
    parts.emplace_back("model.st: ");
    expect_failure(MILL_E_FORMAT, parts, [&] { SafetensorsFile file(dir / "model.st"); });
  }
}

TEST(Safetensors, ShortensHostileNamesInMessages) {
  const TempDir dir;
  write_bytes(
      dir / "x",
      file_of("{" + entry(std::string(50000, 'n') + "\\u001b", "F7", "1", "0,1") + "}", "x"));
  expect_failure(MILL_E_FORMAT, {"nnn...", "unknown dtype \"F7\""},
                 [&] { SafetensorsFile file(dir / "x"); });
}

TEST(Safetensors, NamesPathAndReasonWhenAFileCannotBeOpened) {
  const TempDir dir;
  expect_failure(MILL_E_IO, {"absent", "No such file or directory"},
                 [&] { SafetensorsFile file(dir / "absent"); });
  expect_failure(MILL_E_IO, {dir.path(), "a directory"}, [&] { SafetensorsFile file(dir.path()); });
}

TEST(SafetensorsWriter, RefusesWhatTheFormatCannotHold) {
  const int64_t two[1] = {2};
  const int64_t negative[1] = {-2};
  const int64_t huge[1] = {INT64_MAX};
  const int64_t nine[9] = {1, 1, 1, 1, 1, 1, 1, 1, 1};
  const double data[2] = {};
  SafetensorsWriter writer;
  expect_failure(MILL_E_DTYPE, {"\"w\"", "c128"},
                 [&] { writer.add("w", MILL_C128, 0, nullptr, data); });
  expect_failure(MILL_E_DTYPE, {"\"w\"", "?"}, [&] { writer.add("w", 99, 0, nullptr, data); });
  expect_failure(MILL_E_SHAPE, {"rank 9", "8"}, [&] { writer.add("w", MILL_U8, 9, nine, data); });
  expect_failure(MILL_E_SHAPE, {"[-2]"}, [&] { writer.add("w", MILL_U8, 1, negative, data); });
  expect_failure(MILL_E_SHAPE, {"9223372036854775807"},
                 [&] { writer.add("w", MILL_F32, 1, huge, data); });
  expect_failure(MILL_E_ARG, {"no data", "2 bytes"},
                 [&] { writer.add("w", MILL_U8, 1, two, nullptr); });
  expect_failure(MILL_E_ARG, {"reserved"},
                 [&] { writer.add("__metadata__", MILL_U8, 1, two, data); });
  expect_failure(MILL_E_ARG, {"not UTF-8"}, [&] { writer.add("\xff", MILL_U8, 1, two, data); });
  expect_failure(MILL_E_ARG, {"NUL at byte 1 of 2"}, [&] {
    writer.add({"a\0", 2}, MILL_U8, 1, two, data);
  });
  expect_failure(MILL_E_ARG, {"metadata value", "not UTF-8"},
                 [&] { writer.metadata("a", "\xff"); });
  writer.add("w", MILL_U8, 1, two, data);
  expect_failure(MILL_E_SHAPE, {"2 bytes of other tensors"},
                 [&] { writer.add("v", MILL_U8, 1, huge, data); });
  const TempDir dir;
  writer.write(dir / "x");
  EXPECT_EQ(SafetensorsFile(dir / "x").count(), 1u);
}

TEST(SafetensorsWriter, RefusesNamesAndKeysGivenTwice) {
  const TempDir dir;
  SafetensorsWriter names;
  names.add("w", MILL_U8, 0, nullptr, "x");
  names.add("w", MILL_U8, 0, nullptr, "x");
  expect_failure(MILL_E_ARG, {"tensor name \"w\"", "twice"}, [&] { names.write(dir / "x"); });
  SafetensorsWriter keys;
  keys.metadata("k", "1");
  keys.metadata("k", "2");
  expect_failure(MILL_E_ARG, {"metadata key \"k\"", "twice"}, [&] { keys.write(dir / "x"); });
  EXPECT_EQ(dir.files(), 0u);
}

TEST(SafetensorsWriter, LeavesTheOldFileAndNothingElseWhenASourceFails) {
  const TempDir dir;
  write_bytes(dir / "x", "old");
  const int64_t dims[1] = {3 << 20};
  SafetensorsWriter writer;
  int calls = 0;
  writer.add("w", MILL_U8, 1, dims, [&](uint64_t, void* to, uint64_t bytes) {
    std::fill_n(static_cast<char*>(to), bytes, 'x');
    if (++calls == 2) throw std::runtime_error("device lost");
  });
  EXPECT_THROW(writer.write(dir / "x"), std::runtime_error);
  EXPECT_EQ(read_bytes(dir / "x"), "old");
  EXPECT_EQ(dir.files(), 1u);
}

TEST(SafetensorsWriter, AsksASourceForEveryByteOnceInOrder) {
  const TempDir dir;
  const int64_t dims[1] = {(5 << 19) + 3};
  uint64_t next = 0;
  SafetensorsWriter writer;
  writer.add("w", MILL_U8, 1, dims, [&](uint64_t offset, void* to, uint64_t bytes) {
    EXPECT_EQ(offset, next);
    for (uint64_t i = 0; i < bytes; ++i)
      static_cast<uint8_t*>(to)[i] = static_cast<uint8_t>((offset + i) % 251);
    next = offset + bytes;
  });
  writer.write(dir / "x");
  const std::string back = read_tensor(SafetensorsFile(dir / "x"), 0);
  ASSERT_EQ(back.size(), next);
  for (size_t i = 0; i < back.size(); ++i) ASSERT_EQ(static_cast<uint8_t>(back[i]), i % 251);
}

}  // namespace
}  // namespace mill
