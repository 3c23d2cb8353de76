#include "launcher/job/gpu_probe.hpp"

#include <gmock/gmock.h>

#include "base/error.hpp"
#include "launcher/job/job_setup.hpp"
#include "tests/support/files.hpp"

namespace kangpt::launcher {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

GpuFacts gpu(const std::string& uuid, const std::string& model = "H100", int multiprocessors = 132) {
  return {uuid, model, multiprocessors, 80};
}

TEST(ShareGpusTest, RanksThatSeeAllOfANodeTakeThemInTheirOrder) {
  const GpuProbe here{.gpus = {gpu("a"), gpu("b")}, .problem = ""};
  const GpuProbe there{.gpus = {gpu("c"), gpu("d")}, .problem = ""};
  const GpuShares shares = share_gpus({here, here, there, there});
  EXPECT_EQ(shares.problem, "");
  EXPECT_THAT(shares.of_ranks, ElementsAre(0, 1, 0, 1));
}

// `srun --gpus-per-task=1` shows each rank one, and that as number 0.
TEST(ShareGpusTest, RanksThatSeeOneEachTakeTheirOwn) {
  const auto one = [](const std::string& uuid) { return GpuProbe{.gpus = {gpu(uuid)}, .problem = ""}; };
  EXPECT_THAT(share_gpus({one("a"), one("b"), one("c")}).of_ranks, ElementsAre(0, 0, 0));
  EXPECT_THAT(share_gpus({one("a"), one("a")}).problem, HasSubstr("rank 1 sees 1 GPU(s)"));
}

TEST(ShareGpusTest, TooFewAreCountedAndTheVariableNamed) {
  ::setenv("CUDA_VISIBLE_DEVICES", "0,3", 1);
  const GpuProbe node{.gpus = {gpu("a"), gpu("b")}, .problem = ""};
  const GpuShares shares = share_gpus({node, node, node});
  EXPECT_THAT(shares.problem, HasSubstr("rank 2 sees 2 GPU(s)"));
  EXPECT_THAT(shares.problem, HasSubstr("CUDA_VISIBLE_DEVICES is '0,3'"));
  EXPECT_FALSE(shares.is_out_of_order);
}

TEST(ShareGpusTest, DifferentOnesAreRefusedByTheirNames) {
  const auto one = [](const GpuFacts& facts) { return GpuProbe{.gpus = {facts}, .problem = ""}; };
  EXPECT_THAT(share_gpus({one(gpu("a")), one(gpu("b", "A100", 108))}).problem,
              HasSubstr("rank 0 H100 with 132 multiprocessors, rank 1 A100 with 108 multiprocessors"));
  EXPECT_THAT(share_gpus({one(gpu("a")), one(gpu("b", "H100", 114))}).problem, HasSubstr("114 multiprocessors"));
}

TEST(ShareGpusTest, TheTroubleOfAnyRankIsThatOfAll) {
  const GpuProbe good{.gpus = {gpu("a")}, .problem = ""};
  EXPECT_EQ(share_gpus({good, {.gpus = {}, .problem = "no driver"}}).problem, "no driver");
  const GpuShares sick =
      share_gpus({{.gpus = {}, .problem = "no driver"}, {.gpus = {}, .problem = "ECC", .is_out_of_order = true}});
  EXPECT_EQ(sick.problem, "ECC");
  EXPECT_TRUE(sick.is_out_of_order);
}

TEST(ShareGpusTest, TheSmallestMemoryIsThatOfAll) {
  GpuFacts small = gpu("b");
  small.memory_bytes = 40;
  EXPECT_EQ(share_gpus({{.gpus = {gpu("a")}, .problem = ""}, {.gpus = {small}, .problem = ""}}).memory_bytes, 40U);
}

TEST(GpuProbeTest, ArrivesAsItWasSent) {
  const GpuProbe sent{.gpus = {gpu("a"), gpu("b", "NVIDIA \"X\"", 7)}, .problem = "none", .is_out_of_order = true};
  const GpuProbe found = probe_from_text(to_text(sent));
  ASSERT_EQ(found.gpus.size(), 2U);
  EXPECT_EQ(found.gpus[1].model, sent.gpus[1].model);
  EXPECT_EQ(found.gpus[1].uuid, "b");
  EXPECT_EQ(found.gpus[1].multiprocessors, 7);
  EXPECT_EQ(found.gpus[1].memory_bytes, 80U);
  EXPECT_EQ(found.problem, "none");
  EXPECT_TRUE(found.is_out_of_order);
}

TEST(GpuProbeTest, ABuildWithoutGpuPartIsSaid) {
  const test::TemporaryDirectory empty;
  EXPECT_THAT(probe_gpus_for(empty.path()).problem, HasSubstr("no GPU part"));
}

config::Device chosen(config::Device wanted, const std::string& problem) {
  config::RunConfig config;
  config.run.device = wanted;
  return choose_device(config, {.gpus = {.of_ranks = {}, .problem = problem}});
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

// Training on a CPU would look like a slow GPU; the job is to go to another node.
TEST(ChooseDeviceTest, GpusThatDoNotWorkAreNoReasonToUseTheCpu) {
  using config::Device;
  for (const Device wanted : {Device::kAuto, Device::kCuda}) {
    config::RunConfig config;
    config.run.device = wanted;
    try {
      choose_device(config, {.gpus = {.of_ranks = {}, .problem = "ECC", .is_out_of_order = true}});
      FAIL() << "no error";
    } catch (const Error& error) {
      EXPECT_EQ(error.exit_code(), ExitCode::kGaveUp);
      EXPECT_THAT(error.what(), HasSubstr("ECC"));
    }
  }
  config::RunConfig config;
  config.run.device = Device::kCpu;
  EXPECT_EQ(choose_device(config, {.gpus = {.of_ranks = {}, .problem = "ECC", .is_out_of_order = true}}), Device::kCpu);
}

TEST(GpuProbeTest, SaysWhyThereIsNone) {
  const GpuProbe probe = probe_gpus();
  EXPECT_EQ(probe.gpus.empty(), !probe.problem.empty());
}

}  // namespace
}  // namespace kangpt::launcher
