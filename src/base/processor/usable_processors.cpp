#include "base/processor/usable_processors.hpp"

#include <sched.h>

#include <algorithm>
#include <fstream>
#include <limits>
#include <sstream>
#include <string>
#include <vector>

namespace kangpt::base {
namespace {

namespace fs = std::filesystem;

constexpr double kUnlimited = std::numeric_limits<double>::infinity();

// Version 2: "150000 100000" or "max 100000" (microseconds of each period).
double quota_of_version_2(const fs::path& group) {
  std::ifstream file(group / "cpu.max");
  double quota = 0, period = 0;
  return file >> quota >> period && quota > 0 && period > 0 ? quota / period : kUnlimited;
}

// Version 1: a file each; a quota of -1 is none.
double quota_of_version_1(const fs::path& group) {
  std::ifstream quota_file(group / "cpu.cfs_quota_us");
  std::ifstream period_file(group / "cpu.cfs_period_us");
  double quota = 0, period = 0;
  return quota_file >> quota && period_file >> period && quota > 0 && period > 0 ? quota / period : kUnlimited;
}

// The least quota of a group and those above it up to where the hierarchy is mounted. In a container the group's path
// may be that of the host, of which only the mount itself is there.
double least_quota(const fs::path& mount, const std::string& group, double (*quota_of)(const fs::path&)) {
  double least = quota_of(mount);
  fs::path path = mount;
  for (const fs::path& part : fs::path(group).relative_path()) least = std::min(least, quota_of(path /= part));
  return least;
}

bool has_controller(const std::string& controllers, const std::string& wanted) {
  std::istringstream names(controllers);
  for (std::string name; std::getline(names, name, ',');) {
    if (name == wanted) return true;
  }
  return false;
}

// Processors' worth of time. Lines of /proc/self/cgroup: "4:cpu,cpuacct:/group"; without controllers: version 2.
double granted_processors(const fs::path& root) {
  double least = kUnlimited;
  const fs::path mounts = root / "sys/fs/cgroup";
  std::ifstream file(root / "proc/self/cgroup");
  for (std::string line; std::getline(file, line);) {
    std::istringstream fields(line);
    std::string number, controllers, group;
    if (!std::getline(fields, number, ':') || !std::getline(fields, controllers, ':')) continue;
    std::getline(fields, group);
    if (controllers.empty()) {
      for (const fs::path& mount : {mounts, mounts / "unified"})
        least = std::min(least, least_quota(mount, group, quota_of_version_2));
    } else if (has_controller(controllers, "cpu")) {
      for (const fs::path& mount : {mounts / controllers, mounts / "cpu"})
        least = std::min(least, least_quota(mount, group, quota_of_version_1));
    }
  }
  return least;
}

}  // namespace

// Rounded down: threads that wait for each other all stand still once the quota of a period is used up.
int usable_processors(int allowed, const fs::path& root) {
  const double granted = granted_processors(root);
  return std::max(1, granted < allowed ? static_cast<int>(granted) : allowed);
}

int usable_processors() {
  cpu_set_t set;
  CPU_ZERO(&set);
  if (::sched_getaffinity(0, sizeof set, &set) != 0) return 1;
  return usable_processors(CPU_COUNT(&set));
}

}  // namespace kangpt::base
