#include "launcher/job/slurm_job.hpp"

#include <cstdlib>
#include <string>

#include "base/file.hpp"

namespace kangpt::launcher {
namespace {

namespace fs = std::filesystem;

constexpr const char* kMark = "begun-by-slurm-job";

// The job that this is a start of; "" outside of Slurm.
std::string slurm_job() {
  const char* const job = std::getenv("SLURM_JOB_ID");
  const char* const cluster = std::getenv("SLURM_CLUSTER_NAME");
  return job == nullptr ? "" : job + std::string(cluster == nullptr ? "" : std::string("@") + cluster);
}

}  // namespace

bool is_requeued(const fs::path& run_directory) {
  const char* const restarts = std::getenv("SLURM_RESTART_COUNT");
  const fs::path mark = run_directory / kMark;
  return restarts != nullptr && std::strtoull(restarts, nullptr, 10) > 0 && fs::exists(mark) &&
         base::read_file(mark) == slurm_job();
}

void remember_slurm_job(const fs::path& run_directory) {
  const fs::path mark = run_directory / kMark;
  slurm_job().empty() ? void(fs::remove(mark)) : base::write_file_atomically(mark, slurm_job());
}

}  // namespace kangpt::launcher
