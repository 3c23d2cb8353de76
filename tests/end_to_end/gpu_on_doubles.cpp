#include "tests/end_to_end/gpu_on_doubles.hpp"

namespace kangpt::test {
namespace {

// The programs, with the worker on doubles in the place of the one for GPUs. kangpt_dist is copied, since it looks for
// workers beside itself.
void gather_programs(const fs::path& folder) {
  fs::create_directories(folder);
  const fs::path built = fs::path(program_path("kangpt_dist")).parent_path();
  for (const auto& program : fs::directory_iterator(built)) {
    const std::string name = program.path().filename();
    if (name != "kangpt_dist" && name != "kangpt_worker_cuda") fs::create_symlink(program.path(), folder / name);
  }
  fs::copy_file(built / "kangpt_dist", folder / "kangpt_dist");
  fs::copy_file(KANGPT_WORKER_ON_DOUBLES, folder / "kangpt_worker_cuda");
}

}  // namespace

void JobOnDoubles::SetUpTestSuite() {
  SharedWorkspace::SetUpTestSuite();
  static const std::string built = std::getenv("KANGPT_BIN");
  ::setenv("KANGPT_BIN", built.c_str(), 1);
  gather_programs(job_->path() / "bin");
  ::setenv("KANGPT_BIN", (job_->path() / "bin").c_str(), 1);
  const ProgramResult result = train(2, "reference");
  ASSERT_EQ(result.exit_code, 0) << result.all_output();
}

std::vector<std::string> JobOnDoubles::command(int ranks, const std::string& name, std::vector<std::string> settings) {
  settings.insert(settings.begin(),
                  {"run.device=CUDA", "train.logical_shards=8", "checkpoint.snapshot_interval_steps=1"});
  return job_->training_command(ranks, name, settings);
}

ProgramOptions JobOnDoubles::options(const Environment& environment) {
  ProgramOptions options = job_->options();
  options.environment["LD_LIBRARY_PATH"] = KANGPT_DRIVER_DOUBLE_FOLDER;
  for (const auto& [name, value] : environment) options.environment[name] = value;
  return options;
}

ProgramResult JobOnDoubles::train(int ranks, const std::string& name, std::vector<std::string> settings,
                                  const Environment& environment) {
  BackgroundProgram program(command(ranks, name, std::move(settings)), options(environment));
  return job_->finish(program);
}

void JobOnDoubles::expect_same_as_reference(const std::string& run) {
  EXPECT_EQ(job_->digest(run), job_->digest("reference"));
  EXPECT_EQ(job_->losses(run), job_->losses("reference"));
  EXPECT_EQ(job_->losses(run).size(), 12U);
}

}  // namespace kangpt::test
