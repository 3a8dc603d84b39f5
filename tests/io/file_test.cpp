#include "io/file.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>

#include "io/bytes.h"
#include "io/temp_dir.h"

namespace mill {
namespace {

void write_all(const std::string& path, const std::string& bytes) {
  AtomicFile file(path);
  file.write(bytes.data(), bytes.size());
  file.commit();
}

TEST(AtomicFile, ReplacesAFileAndKeepsItsPermissions) {
  const TempDir dir;
  write_bytes(dir / "x", "old");
  ASSERT_EQ(::chmod((dir / "x").c_str(), 0640), 0);
  write_all(dir / "x", "new");
  EXPECT_EQ(read_bytes(dir / "x"), "new");
  struct stat status;
  ASSERT_EQ(::stat((dir / "x").c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777u, 0640u);
  EXPECT_EQ(dir.files(), 1u);
}

TEST(AtomicFile, LeavesTheOldFileWhenItIsNotCommitted) {
  const TempDir dir;
  write_bytes(dir / "x", "old");
  {
    AtomicFile file(dir / "x");
    file.write("new", 3);
    EXPECT_EQ(dir.files(), 2u);
  }
  EXPECT_EQ(read_bytes(dir / "x"), "old");
  EXPECT_EQ(dir.files(), 1u);
}

TEST(AtomicFile, FollowsASymbolicLink) {
  const TempDir dir;
  write_bytes(dir / "target", "old");
  std::filesystem::create_symlink("target", dir / "link");
  write_all(dir / "link", "new");
  EXPECT_TRUE(std::filesystem::is_symlink(dir / "link"));
  EXPECT_EQ(read_bytes(dir / "target"), "new");
}

TEST(AtomicFile, WorksForTheLongestNameAndARelativePath) {
  const TempDir dir;
  write_all(dir / std::string(255, 'n'), "long");
  EXPECT_EQ(read_bytes(dir / std::string(255, 'n')), "long");
  const auto before = std::filesystem::current_path();
  std::filesystem::current_path(dir.path());
  write_all("relative", "here");
  std::filesystem::current_path(before);
  EXPECT_EQ(read_bytes(dir / "relative"), "here");
}

TEST(AtomicFile, KeepsTwoWritersOfOnePathApart) {
  const TempDir dir;
  AtomicFile first(dir / "x");
  AtomicFile second(dir / "x");
  first.write("first", 5);
  second.write("second", 6);
  second.commit();
  EXPECT_EQ(read_bytes(dir / "x"), "second");
  first.commit();
  EXPECT_EQ(read_bytes(dir / "x"), "first");
  EXPECT_EQ(dir.files(), 1u);
}

TEST(AtomicFile, NamesPathAndReasonWhenItCannotWrite) {
  const TempDir dir;
  std::filesystem::create_directory(dir / "folder");
  std::filesystem::create_symlink("nowhere", dir / "dangling");
  expect_failure(MILL_E_IO, {"absent/x", "No such file"},
                 [&] { AtomicFile file(dir / "absent/x"); });
  expect_failure(MILL_E_IO, {"folder", "a directory"}, [&] { AtomicFile file(dir / "folder"); });
  expect_failure(MILL_E_IO, {"dangling", "link"}, [&] { AtomicFile file(dir / "dangling"); });
  expect_failure(MILL_E_IO, {"/dev/null", "not a regular file"},
                 [&] { AtomicFile file("/dev/null"); });
  EXPECT_EQ(dir.files(), 2u);
}

// In a child, because the limit holds for the whole process.
TEST(AtomicFile, LeavesTheOldFileWhenTheDiskIsFull) {
  const TempDir dir;
  write_bytes(dir / "x", "old");
  const pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    ::signal(SIGXFSZ, SIG_IGN);
    const rlimit limit = {100000, 100000};
    ::setrlimit(RLIMIT_FSIZE, &limit);
    int result = 1;
    try {
      write_all(dir / "x", std::string(300000, 'n'));
    } catch (const Error& error) {
      result = error.status() == MILL_E_IO && error.native_code() == EFBIG ? 0 : 2;
    }
    ::_exit(result);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
  EXPECT_EQ(read_bytes(dir / "x"), "old");
  EXPECT_EQ(dir.files(), 1u);
}

// In a child, because an administrator may read every folder.
TEST(AtomicFile, NeedsNoRightToReadTheFolder) {
  const TempDir dir;
  ASSERT_EQ(::chmod(dir.path().c_str(), 0711), 0);
  ASSERT_EQ(::mkdir((dir / "drop").c_str(), 0700), 0);
  ASSERT_EQ(::chmod((dir / "drop").c_str(), 0333), 0);
  const pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    constexpr uid_t kNobody = 65534;
    if (::geteuid() == 0 && ::setuid(kNobody) != 0) ::_exit(3);
    int result = 0;
    try {
      write_all(dir / "drop/x", "new");
    } catch (const Error&) {
      result = 1;
    }
    ::_exit(result);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
  EXPECT_EQ(read_bytes(dir / "drop/x"), "new");
  ASSERT_EQ(::chmod((dir / "drop").c_str(), 0700), 0);
}

TEST(PathArgument, TakesALengthOrATerminatedString) {
  EXPECT_EQ(path_argument("abcdef", 3), "abc");
  EXPECT_EQ(path_argument("abcdef", MILL_NTS), "abcdef");
  expect_failure(MILL_E_ARG, {"NULL"}, [] { path_argument(nullptr, 3); });
  expect_failure(MILL_E_ARG, {"empty"}, [] { path_argument("", MILL_NTS); });
  expect_failure(MILL_E_ARG, {"NUL at byte 1", "3 bytes"}, [] { path_argument("a\0b", 3); });
  const std::string longest(5000, 'p');
  expect_failure(MILL_E_ARG, {"5000", "4095"},
                 [&] { path_argument(longest.data(), longest.size()); });
}

TEST(Shown, CutsAtCharactersAndHidesControls) {
  EXPECT_STREQ(Shown("a\nb\x7f").text(), "a?b?");
  std::string euros = "xy";
  for (int i = 0; i < 99; ++i) euros += "\xe2\x82\xac";
  const std::string head = Shown(euros).text();
  EXPECT_EQ(head.size(), 2 + 66 * 3 + 3);
  const std::string tail = Shown(euros, Shown::Keep::end).text();
  EXPECT_EQ(tail.size(), 3 + 66 * 3);
}

}  // namespace
}  // namespace mill
