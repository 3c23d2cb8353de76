#include "base/file.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <csignal>

#include "base/error.hpp"
#include "tests/support/files.hpp"

namespace {

std::vector<std::string> synced_paths;

}  // namespace

// In place of the C library's: remembers what was synced.
extern "C" int fsync(int fd) {
  std::error_code error;
  synced_paths.push_back(std::filesystem::read_symlink("/proc/self/fd/" + std::to_string(fd), error).string());
  return static_cast<int>(::syscall(SYS_fsync, fd));
}

namespace kangpt::base {
namespace {

using ::testing::UnorderedElementsAre;

class FileTest : public ::testing::Test {
 protected:
  std::size_t entries() const {
    return static_cast<std::size_t>(std::distance(fs::directory_iterator(directory_.path()), fs::directory_iterator()));
  }
  test::TemporaryDirectory directory_;
};

TEST_F(FileTest, ReadsWhatWasWritten) {
  const std::string content("a\0b\r\n", 5);
  write_file_atomically(directory_ / "file", content);
  EXPECT_EQ(read_file(directory_ / "file"), content);
  write_file_atomically(directory_ / "file", "");
  EXPECT_EQ(read_file(directory_ / "file"), "");
  EXPECT_EQ(entries(), 1u);
}

TEST_F(FileTest, WhatIsMissingOrNoFileIsAnError) {
  EXPECT_THROW(read_file(directory_ / "none"), MissingInputError);
  EXPECT_THROW(read_file(directory_ / "none" / "deeper"), MissingInputError);
  EXPECT_THROW(read_file(directory_.path()), IoError);
  EXPECT_THROW(read_file("/dev/zero"), IoError);
  ASSERT_EQ(::mkfifo((directory_ / "pipe").c_str(), 0600), 0);
  EXPECT_THROW(read_file(directory_ / "pipe"), IoError) << "and does not wait for a writer";
}

// A power failure must not take a whole new run directory with all that is in it.
TEST_F(FileTest, NewFoldersAreDurable) {
  synced_paths.clear();
  make_directories(directory_ / "run" / "checkpoints" / "step");
  const std::string folder = fs::canonical(directory_.path()).string();
  EXPECT_THAT(synced_paths, UnorderedElementsAre(folder, folder + "/run", folder + "/run/checkpoints"));
  synced_paths.clear();
  make_directories(directory_ / "run" / "checkpoints" / "step");
  EXPECT_THAT(synced_paths, UnorderedElementsAre());
  make_directories(directory_ / "run" / "");
  EXPECT_TRUE(fs::is_directory(directory_ / "run"));
}

TEST_F(FileTest, WriterIsInvisibleUntilItCommits) {
  {
    AtomicFileWriter writer(directory_ / "file");
    writer.write("half");
    EXPECT_FALSE(fs::exists(directory_ / "file"));
  }
  EXPECT_EQ(entries(), 0u) << "a writer that gave up leaves nothing";
  AtomicFileWriter writer(directory_ / "file");
  writer.write("one ");
  writer.write(std::as_bytes(std::span("two", 3)));
  writer.commit();
  EXPECT_EQ(read_file(directory_ / "file"), "one two");
  EXPECT_EQ(entries(), 1u);
}

TEST_F(FileTest, AFailedWriteKeepsTheOldContent) {
  write_file_atomically(directory_ / "file", "old");
  std::signal(SIGXFSZ, SIG_IGN);
  rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &before), 0);
  const rlimit tight{1000, before.rlim_max};
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &tight), 0);
  EXPECT_THROW(write_file_atomically(directory_ / "file", std::string(5000, 'x')), IoError);
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &before), 0);
  EXPECT_EQ(read_file(directory_ / "file"), "old");
  EXPECT_EQ(entries(), 1u);
}

TEST_F(FileTest, WritingWhereNothingCanBeIsAnIoError) {
  EXPECT_THROW(write_file_atomically(directory_ / "none" / "file", "x"), IoError);
  write_file_atomically(directory_ / "file", "x");
  EXPECT_THROW(make_directories(directory_ / "file" / "folder"), IoError);
  EXPECT_THROW(rename_durably(directory_ / "none", directory_ / "other"), IoError);
  EXPECT_THROW(sync_path(directory_ / "none"), IoError);
}

TEST_F(FileTest, MakesFoldersOnceOrTwice) {
  make_directories(directory_ / "a" / "b");
  make_directories(directory_ / "a" / "b");
  EXPECT_TRUE(fs::is_directory(directory_ / "a" / "b"));
}

TEST_F(FileTest, MappingOutlivesMovesAndTheName) {
  write_file_atomically(directory_ / "file", "content");
  MappedFile first(directory_ / "file");
  MappedFile second = std::move(first);
  MappedFile third;
  third = std::move(second);
  fs::remove(directory_ / "file");
  const auto bytes = third.bytes();
  EXPECT_EQ(std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size()), "content");
}

TEST_F(FileTest, EmptyFilesMapAndMissingOnesDoNot) {
  write_file_atomically(directory_ / "empty", "");
  EXPECT_TRUE(MappedFile(directory_ / "empty").bytes().empty());
  EXPECT_THROW(MappedFile{directory_ / "none"}, MissingInputError);
  EXPECT_THROW(MappedFile{directory_.path()}, IoError);
}

}  // namespace
}  // namespace kangpt::base
