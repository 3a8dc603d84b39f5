#include "io/idx.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <zlib.h>

#include <cerrno>
#include <random>

#include "base/dtype.h"
#include "io/temp_dir.h"

namespace mill {
namespace {

std::string be32(uint32_t value) {
  return {static_cast<char>(value >> 24), static_cast<char>(value >> 16),
          static_cast<char>(value >> 8), static_cast<char>(value)};
}

std::string idx_bytes(uint8_t code, const std::vector<uint32_t>& dims, const std::string& data) {
  std::string bytes = {0, 0, static_cast<char>(code), static_cast<char>(dims.size())};
  for (const uint32_t dim : dims) bytes += be32(dim);
  return bytes + data;
}

std::string gzip(const std::string& bytes) {
  std::string out(compressBound(bytes.size()) + 64, 0);
  z_stream stream = {};
  deflateInit2(&stream, 9, Z_DEFLATED, 16 + MAX_WBITS, 8, Z_DEFAULT_STRATEGY);
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(bytes.data()));
  stream.avail_in = static_cast<uInt>(bytes.size());
  stream.next_out = reinterpret_cast<Bytef*>(out.data());
  stream.avail_out = static_cast<uInt>(out.size());
  deflate(&stream, Z_FINISH);
  out.resize(stream.total_out);
  deflateEnd(&stream);
  return out;
}

std::string read_all(const std::string& path) {
  IdxReader reader(path);
  std::string data(reader.header().bytes, '\x5a');
  reader.read(data.data(), data.size());
  return data;
}

TEST(Idx, RoundTripsEveryElementTypePlainAndCompressed) {
  const TempDir dir;
  for (const int32_t dtype : {MILL_U8, MILL_I8, MILL_I16, MILL_I32, MILL_F32, MILL_F64}) {
    for (const bool compress : {false, true}) {
      SCOPED_TRACE(dtype_name(dtype));
      // More than two of the reader's and writer's buffers.
      const int64_t dims[3] = {7, 5, 4001};
      std::string data(static_cast<size_t>(7 * 5 * 4001 * dtype_size(dtype)), 0);
      for (size_t i = 0; i < data.size(); ++i) data[i] = static_cast<char>(i * 2654435761u >> 13);
      const std::string path = dir / "x.idx";
      write_idx(path, dtype, 3, dims, data.data(), compress);
      EXPECT_EQ(read_bytes(path)[0], compress ? '\x1f' : '\0');
      const IdxReader reader(path);
      EXPECT_EQ(reader.header().dtype, dtype);
      EXPECT_EQ(reader.header().rank, 3u);
      EXPECT_TRUE(std::equal(dims, dims + 3, reader.header().dims));
      EXPECT_TRUE(read_all(path) == data);
    }
  }
}

TEST(Idx, StoresBigEndian) {
  const TempDir dir;
  const int32_t values[2] = {0x01020304, -2};
  const int64_t dims[1] = {2};
  write_idx(dir / "x", MILL_I32, 1, dims, values, false);
  EXPECT_EQ(read_bytes(dir / "x"),
            idx_bytes(0x0c, {2}, std::string("\x01\x02\x03\x04\xff\xff\xff\xfe", 8)));
}

TEST(Idx, ReadsRankEightAndEmptyArrays) {
  const TempDir dir;
  write_bytes(dir / "eight", idx_bytes(8, {1, 2, 1, 2, 1, 1, 1, 1}, "abcd"));
  EXPECT_EQ(read_all(dir / "eight"), "abcd");
  write_bytes(dir / "empty", idx_bytes(8, {0, 28, 28}, ""));
  EXPECT_EQ(read_all(dir / "empty"), "");
  write_bytes(dir / "empty.gz", gzip(idx_bytes(8, {0, 28, 28}, "")));
  EXPECT_EQ(read_all(dir / "empty.gz"), "");
}

TEST(Idx, ReadsSeveralGzipMembers) {
  const TempDir dir;
  const std::string bytes = idx_bytes(8, {6}, "abcdef");
  write_bytes(dir / "x", gzip(bytes.substr(0, 5)) + gzip("") + gzip(bytes.substr(5)));
  EXPECT_EQ(read_all(dir / "x"), "abcdef");
}

TEST(Idx, AcceptsTheHighestCompressionDeflateReaches) {
  const TempDir dir;
  const std::string zeros(4 << 20, 0);
  const std::string bytes = gzip(idx_bytes(8, {4 << 20}, zeros));
  EXPECT_LT(bytes.size() * 900, zeros.size());
  write_bytes(dir / "x", bytes);
  EXPECT_TRUE(read_all(dir / "x") == zeros);
}

struct Hostile {
  const char* what;
  std::string bytes;
  std::vector<std::string> parts;
};

TEST(Idx, RefusesHostileFilesNamingTheFileAndBothValues) {
  const std::string good = gzip(idx_bytes(8, {1000}, std::string(1000, 'x')));
  std::string random(3000, 0);
  std::mt19937 generator(7);
  for (char& c : random) c = static_cast<char>(generator());
  const std::string incompressible = gzip(idx_bytes(8, {3000}, random));
  std::string damaged = incompressible;
  damaged[damaged.size() - 6] = static_cast<char>(damaged[damaged.size() - 6] ^ 1);
  const Hostile table[] = {
      {"empty file", "", {"holds 0 bytes", "at least 8"}},
      {"three bytes", std::string("\0\0\x08", 3), {"holds 3 bytes", "at least 8"}},
      {"no magic", "hello world", {"bytes 104 and 101", "not 0 and 0"}},
      {"unknown type", idx_bytes(0x0a, {1}, "x"), {"0x0a", "0x08"}},
      {"rank 0", idx_bytes(8, {}, "x"), {"rank 0", "1 to 8"}},
      {"rank 9", idx_bytes(8, {1, 1, 1, 1, 1, 1, 1, 1, 1}, "x"), {"rank 9", "1 to 8"}},
      {"rank 255", std::string("\0\0\x08\xff", 4), {"rank 255", "1 to 8"}},
      {"sizes cut off", idx_bytes(8, {5, 6}, "").substr(0, 9), {"holds 9 bytes", "rank 2 has 12"}},
      {"size overflow",
       idx_bytes(0x0e, {~0u, ~0u}, "x"),
       {"[4294967295,4294967295]", "9223372036854775807"}},
      {"overflow beside a zero", idx_bytes(8, {0, ~0u, ~0u}, ""), {"[0,4294967295,4294967295]"}},
      {"truncated",
       idx_bytes(8, {60000, 28, 28}, std::string(1234, 0)),
       {"promises 47040000 bytes", "holds 1234"}},
      {"trailing garbage", idx_bytes(8, {4}, "abcde"), {"promises 4 bytes", "holds 5"}},
      {"gzip: magic only", "\x1f\x8b", {"cut off at byte 2"}},
      {"gzip: empty", gzip(""), {"holds 0 bytes"}},
      {"gzip: bomb",
       gzip(idx_bytes(8, {1u << 31, 1u << 31}, "")),
       {"promises 4611686018427387904", "cannot hold more"}},
      {"gzip: truncated data", gzip(idx_bytes(8, {100}, "abc")), {"promises 100 bytes", "holds 3"}},
      {"gzip: excess data",
       gzip(idx_bytes(8, {2}, "abc")),
       {"promises 2 bytes", "holds at least 3"}},
      {"gzip: cut stream", incompressible.substr(0, 2000), {"cut off at byte 2000"}},
      {"gzip: cut trailer", good.substr(0, good.size() - 3), {"cut off"}},
      {"gzip: wrong checksum", damaged, {"damaged"}},
      {"gzip: trailing garbage",
       good + "garbage",
       {"data end at byte " + std::to_string(good.size()),
        "has " + std::to_string(good.size() + 7) + " bytes"}},
      {"gzip: one trailing byte",
       good + '\0',
       {"data end at byte " + std::to_string(good.size()),
        "has " + std::to_string(good.size() + 1) + " bytes"}},
  };
  const TempDir dir;
  for (const Hostile& hostile : table) {
    SCOPED_TRACE(hostile.what);
    write_bytes(dir / "train.idx", hostile.bytes);
    std::vector<std::string> parts = hostile.parts;
    parts.emplace_back("train.idx: ");
    expect_failure(MILL_E_FORMAT, parts, [&] { read_all(dir / "train.idx"); });
  }
}

TEST(Idx, RefusesABombBeforeAnythingIsRead) {
  const TempDir dir;
  write_bytes(dir / "x", gzip(idx_bytes(8, {1u << 30}, "abc")));
  expect_failure(MILL_E_FORMAT, {"promises 1073741824"}, [&] { IdxReader reader(dir / "x"); });
  // One byte above deflate's greatest ratio.
  const uint32_t size = static_cast<uint32_t>(gzip(idx_bytes(8, {20000}, "abc")).size());
  const std::string above = gzip(idx_bytes(8, {1032 * size + 1}, "abc"));
  ASSERT_EQ(above.size(), size);
  write_bytes(dir / "x", above);
  expect_failure(
      MILL_E_FORMAT,
      {"promises " + std::to_string(1032 * size + 1), "more than " + std::to_string(1032 * size)},
      [&] { IdxReader reader(dir / "x"); });
}

TEST(Idx, NamesPathAndReasonWhenAFileCannotBeOpened) {
  const TempDir dir;
  expect_failure(MILL_E_IO, {"absent.idx", "No such file or directory"},
                 [&] { IdxReader reader(dir / "absent.idx"); });
  expect_failure(MILL_E_IO, {dir.path(), "a directory"}, [&] { IdxReader reader(dir.path()); });
  ASSERT_EQ(::mkfifo((dir / "pipe").c_str(), 0600), 0);
  expect_failure(MILL_E_IO, {"pipe", "not a regular file"},
                 [&] { IdxReader reader(dir / "pipe"); });
  try {
    IdxReader reader(dir / "absent.idx");
  } catch (const Error& error) {
    EXPECT_EQ(error.native_code(), ENOENT);
  }
}

TEST(Idx, SeesThatAFileWasCutShortAfterOpening) {
  const TempDir dir;
  write_bytes(dir / "x", idx_bytes(8, {1000}, std::string(1000, 'x')));
  IdxReader reader(dir / "x");
  std::filesystem::resize_file(dir / "x", 500);
  std::string data(1000, 0);
  expect_failure(MILL_E_FORMAT, {"ends at byte 500", "1008"},
                 [&] { reader.read(data.data(), data.size()); });
}

TEST(Idx, ReadsOnceAndOnlyIntoTheRightSize) {
  const TempDir dir;
  write_bytes(dir / "x", idx_bytes(8, {4}, "abcd"));
  IdxReader reader(dir / "x");
  char data[4];
  expect_failure(MILL_E_ARG, {"has 3 bytes", "have 4"}, [&] { reader.read(data, 3); });
  reader.read(data, 4);
  expect_failure(MILL_E_STATE, {"read once"}, [&] { reader.read(data, 4); });
}

TEST(Idx, RefusesToWriteWhatTheFormatCannotHold) {
  const TempDir dir;
  const std::string path = dir / "x";
  const int64_t one[1] = {1};
  const int64_t negative[2] = {2, -1};
  const int64_t wide[2] = {0, int64_t{1} << 32};
  const int64_t nine[9] = {1, 1, 1, 1, 1, 1, 1, 1, 1};
  const double value = 0;
  expect_failure(MILL_E_DTYPE, {"bf16"},
                 [&] { write_idx(path, MILL_BF16, 1, one, &value, false); });
  expect_failure(MILL_E_SHAPE, {"rank 0", "1 to 8"},
                 [&] { write_idx(path, MILL_U8, 0, one, &value, false); });
  expect_failure(MILL_E_SHAPE, {"rank 9", "1 to 8"},
                 [&] { write_idx(path, MILL_U8, 9, nine, &value, false); });
  expect_failure(MILL_E_SHAPE, {"[2,-1]"},
                 [&] { write_idx(path, MILL_U8, 2, negative, &value, false); });
  expect_failure(MILL_E_SHAPE, {"4294967296", "4294967295"},
                 [&] { write_idx(path, MILL_U8, 2, wide, &value, false); });
  EXPECT_EQ(dir.files(), 0u);
}

}  // namespace
}  // namespace mill
