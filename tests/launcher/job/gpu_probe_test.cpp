#include "launcher/job/gpu_probe.hpp"

#include <gmock/gmock.h>

#include "base/error.hpp"
#include "launcher/job/job_setup.hpp"
#include "tests/support/files.hpp"

namespace kangpt::launcher {
namespace {

using ::testing::HasSubstr;

class GpuProblemTest : public ::testing::Test {
 protected:
  GpuProblemTest() { test::write_text(programs_ / kGpuWorker, ""); }
  test::TemporaryDirectory programs_;
};

TEST_F(GpuProblemTest, ARankWithAGpuOfItsOwnHasNone) {
  EXPECT_EQ(gpu_problem(programs_.path(), {.count = 2}, 1), "");
}

TEST_F(GpuProblemTest, TooFewGpusAreCountedAndTheVariableNamed) {
  ::setenv("CUDA_VISIBLE_DEVICES", "0,3", 1);
  const std::string problem = gpu_problem(programs_.path(), {.count = 2}, 2);
  EXPECT_THAT(problem, HasSubstr("2 GPU(s) for at least 3 ranks"));
  EXPECT_THAT(problem, HasSubstr("CUDA_VISIBLE_DEVICES is '0,3'"));
}

TEST_F(GpuProblemTest, AMissingDriverOrBuildIsSaid) {
  EXPECT_EQ(gpu_problem(programs_.path(), {.problem = "no driver"}, 0), "no driver");
  EXPECT_THAT(gpu_problem(programs_ / "elsewhere", {.count = 8}, 0), HasSubstr("no GPU part"));
}

config::Device chosen(config::Device wanted, const std::string& problem) {
  config::RunConfig config;
  config.run.device = wanted;
  return choose_device(config, {.gpu_problem = problem});
}

TEST(ChooseDeviceTest, AutoTakesGpusWhereEveryRankHasOne) {
  using config::Device;
  EXPECT_EQ(chosen(Device::kAuto, ""), Device::kCuda);
  EXPECT_EQ(chosen(Device::kAuto, "no driver"), Device::kCpu);
  EXPECT_EQ(chosen(Device::kCuda, ""), Device::kCuda);
  EXPECT_EQ(chosen(Device::kCpu, ""), Device::kCpu);
  try {
    chosen(Device::kCuda, "no driver");
    FAIL() << "no error";
  } catch (const ConfigError& error) {
    EXPECT_THAT(error.what(), HasSubstr("run.device is CUDA, but no driver; valid here: AUTO, CPU"));
  }
}

TEST(GpuProbeTest, SaysWhyThereIsNone) {
  const GpuProbe probe = probe_gpus();
  EXPECT_EQ(probe.count == 0, !probe.problem.empty());
}

}  // namespace
}  // namespace kangpt::launcher
