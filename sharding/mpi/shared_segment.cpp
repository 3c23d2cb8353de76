#include "sharding/mpi/shared_segment.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <fstream>

namespace kangpt::sharding {

std::string unlink_shared_segment(int rank) {
  const std::string suffix = "." + std::to_string(rank);
  std::ifstream maps("/proc/self/maps");
  for (std::string line; std::getline(maps, line);) {
    const std::size_t begin = line.find('/');
    if (begin == std::string::npos || !line.ends_with(suffix)) continue;
    const bool is_segment = line.find("/vader_segment.", begin) != std::string::npos ||  // Open MPI 4
                            line.find("/sm_segment.", begin) != std::string::npos;       // Open MPI 5
    if (!is_segment) continue;
    const std::string path = line.substr(begin);
    if (::unlink(path.c_str()) == 0) return path;
  }
  return "";
}

void put_back_shared_segment(const std::string& path) noexcept {
  if (!path.empty()) ::close(::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
}

void remove_shared_segment(const std::string& path) noexcept {
  if (!path.empty()) ::unlink(path.c_str());
}

}  // namespace kangpt::sharding
