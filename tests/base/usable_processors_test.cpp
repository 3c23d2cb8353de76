#include "base/processor/usable_processors.hpp"

#include <gtest/gtest.h>
#include <sched.h>
#include <unistd.h>

#include <fstream>

#include "tests/support/files.hpp"

namespace kangpt::base {
namespace {

using test::write_text;

// /proc and /sys of a machine whose kernel says that this process is in these groups.
class Groups {
 public:
  explicit Groups(const std::string& of_process) { write_text(root_ / "proc/self/cgroup", of_process); }
  Groups& version_2(const std::string& group, const std::string& cpu_max, const std::string& mount = "") {
    write_text(root_ / "sys/fs/cgroup" / mount / group / "cpu.max", cpu_max + "\n");
    return *this;
  }
  Groups& version_1(const std::string& group, const std::string& quota, const std::string& mount = "cpu,cpuacct") {
    write_text(root_ / "sys/fs/cgroup" / mount / group / "cpu.cfs_quota_us", quota + "\n");
    write_text(root_ / "sys/fs/cgroup" / mount / group / "cpu.cfs_period_us", "100000\n");
    return *this;
  }
  int usable(int allowed = 64) const { return usable_processors(allowed, root_.path()); }

 private:
  test::TemporaryDirectory root_;
};

TEST(UsableProcessors, AreThoseAllowedWithoutAQuota) {
  EXPECT_EQ(Groups("0::/job\n").usable(), 64);
  EXPECT_EQ(Groups("0::/job\n").version_2("job", "max 100000").usable(), 64);
  EXPECT_EQ(Groups("4:cpu,cpuacct:/job\n").version_1("job", "-1").usable(), 64);
  EXPECT_EQ(Groups("no such format\n").usable(), 64);
}

TEST(UsableProcessors, AreLimitedByTheQuotaOfAnyGroupAbove) {
  EXPECT_EQ(Groups("0::/batch/job\n").version_2("batch/job", "400000 100000").usable(), 4);
  EXPECT_EQ(Groups("0::/batch/job\n").version_2("batch/job", "max 100000").version_2("batch", "50000 25000").usable(),
            2);
  EXPECT_EQ(Groups("0::/\n").version_2("", "300000 100000").usable(), 3) << "a container that sees itself as the root";
  EXPECT_EQ(Groups("0::/docker/1\n").version_2("", "300000 100000").usable(), 3) << "one that sees the host's path";
  EXPECT_EQ(Groups("0::/job\n").version_2("job", "200000 100000", "unified").usable(), 2);
  EXPECT_EQ(Groups("9:memory:/m\n4:cpu,cpuacct:/batch/job\n").version_1("batch", "800000").usable(), 8);
  EXPECT_EQ(Groups("2:cpuacct:/j\n1:cpu:/job\n0::/\n").version_1("job", "500000", "cpu").usable(), 5);
  EXPECT_EQ(Groups("2:cpuacct:/job\n1:cpu:/\n").version_1("job", "500000", "cpuacct").usable(), 64);
}

TEST(UsableProcessors, AreNeverMoreThanAllowedNorFewerThanOne) {
  EXPECT_EQ(Groups("0::/job\n").version_2("job", "9900000 100000").usable(8), 8);
  EXPECT_EQ(Groups("0::/job\n").version_2("job", "250000 100000").usable(8), 2) << "rounded down";
  EXPECT_EQ(Groups("0::/job\n").version_2("job", "10000 100000").usable(8), 1);
}

// A group of the machine's own, of version 1 or 2; the child joins it.
TEST(UsableProcessors, FollowTheKernel) {
  namespace fs = std::filesystem;
  const fs::path one = "/sys/fs/cgroup/cpu", two = "/sys/fs/cgroup";
  const bool is_first = fs::exists(one / "cpu.cfs_period_us");
  const fs::path group = (is_first ? one : two) / ("kangpt-test-" + std::to_string(::getpid()));
  std::error_code refused;
  if (!fs::create_directory(group, refused)) GTEST_SKIP() << "no control group can be made here";
  const auto set = [&](const char* file, const std::string& value) {
    return static_cast<bool>(std::ofstream(group / file) << value << std::flush);
  };
  const bool is_set = is_first ? set("cpu.cfs_quota_us", "100000") : set("cpu.max", "100000 100000");
  const auto usable_in_group = [&] {
    if (!set("cgroup.procs", std::to_string(::getpid()))) ::_exit(99);
    ::_exit(usable_processors());
  };
  if (is_set) {
    EXPECT_EXIT(usable_in_group(), testing::ExitedWithCode(1), "");
  }
  fs::remove(group, refused);
  if (!is_set) GTEST_SKIP() << "no quota can be set here";
}

}  // namespace
}  // namespace kangpt::base
