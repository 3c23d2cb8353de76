#include "base/shared_memory.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>

#include "base/error.hpp"
#include "base/unique_fd.hpp"

namespace kangpt::base {
namespace {

bool is_open(int fd) {
  return ::fcntl(fd, F_GETFD) >= 0;
}

TEST(UniqueFd, ClosesWhatItOwnsOnce) {
  UniqueFd first(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  const int number = first.value();
  UniqueFd second = std::move(first);
  EXPECT_FALSE(first);
  EXPECT_TRUE(is_open(number));
  UniqueFd& alias = second;
  second = std::move(alias);
  EXPECT_TRUE(is_open(number));
  second.reset();
  EXPECT_FALSE(is_open(number));
}

TEST(UniqueFd, ReleaseGivesItAway) {
  int number = -1;
  {
    UniqueFd owner(::open("/dev/null", O_RDONLY | O_CLOEXEC));
    number = owner.release();
  }
  EXPECT_TRUE(is_open(number));
  ::close(number);
}

TEST(SharedMemory, IsZeroAtFirstAndPrivateToTheUser) {
  const SharedMemory memory = SharedMemory::create("test", 100'000);
  ASSERT_EQ(memory.bytes().size(), 100'000u);
  EXPECT_TRUE(std::all_of(memory.bytes().begin(), memory.bytes().end(), [](std::byte b) { return b == std::byte{0}; }));
  struct stat status {};
  ASSERT_EQ(::fstat(memory.fd(), &status), 0);
  EXPECT_EQ(status.st_uid, ::geteuid());
  EXPECT_EQ(status.st_nlink, 0u) << "has a name in a file system";
}

TEST(SharedMemory, ASecondMappingSeesTheSameBytes) {
  const SharedMemory memory = SharedMemory::create("test", 5000);
  SharedMemory other = SharedMemory::attach(UniqueFd(::dup(memory.fd())));
  ASSERT_EQ(other.bytes().size(), 5000u);
  memory.bytes()[4999] = std::byte{7};
  EXPECT_EQ(other.bytes()[4999], std::byte{7});
  const SharedMemory moved = std::move(other);
  EXPECT_EQ(moved.bytes()[4999], std::byte{7});
}

TEST(SharedMemory, AChildProcessSeesIt) {
  const SharedMemory memory = SharedMemory::create("test", 8);
  const pid_t child = ::fork();
  if (child == 0) {
    memory.bytes()[0] = std::byte{42};
    ::_exit(0);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_EQ(memory.bytes()[0], std::byte{42});
}

TEST(SharedMemory, WhatCannotBeMappedIsAnIoError) {
  EXPECT_THROW(SharedMemory::attach(UniqueFd(-1)), IoError);
  EXPECT_THROW(SharedMemory::attach(UniqueFd(::open("/dev/null", O_RDWR | O_CLOEXEC))), IoError);
  EXPECT_THROW(SharedMemory::create("test", std::size_t{1} << 62), IoError);
}

}  // namespace
}  // namespace kangpt::base
