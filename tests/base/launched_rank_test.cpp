// What launchers say in the environment, against the variables that each is known to set.
#include "base/launched_rank.hpp"

#include <gmock/gmock.h>

#include <cstdlib>
#include <string>
#include <utility>
#include <vector>

namespace kangpt::base {
namespace {

using ::testing::HasSubstr;

// Clean of all launchers but for `variables`, until the end of the block.
class Launched {
 public:
  explicit Launched(const std::vector<std::pair<const char*, const char*>>& variables) {
    for (const char* const name : kNames) ::unsetenv(name);
    for (const auto& [name, value] : variables) ::setenv(name, value, 1);
  }
  ~Launched() {
    for (const char* const name : kNames) ::unsetenv(name);
  }

 private:
  static constexpr const char* kNames[] = {
      "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", "PMIX_RANK",           "PMI_RANK", "PMI_SIZE",
      "SLURM_PROCID",         "SLURM_NTASKS",         "SLURM_STEP_NUM_TASKS"};
};

TEST(LaunchedRank, IsThatOfTheLauncherWhoseVariablesAreThere) {
  struct Case {
    std::vector<std::pair<const char*, const char*>> variables;
    const char* launcher;
  };
  const std::vector<Case> cases = {
      {{{"OMPI_COMM_WORLD_RANK", "3"}, {"OMPI_COMM_WORLD_SIZE", "4"}, {"PMIX_RANK", "3"}}, "Open MPI"},
      {{{"PMIX_RANK", "3"}, {"SLURM_PROCID", "3"}, {"SLURM_STEP_NUM_TASKS", "4"}}, "PMIx"},
      {{{"PMI_RANK", "3"}, {"PMI_SIZE", "4"}}, "MPICH"},
      {{{"SLURM_PROCID", "3"}, {"SLURM_STEP_NUM_TASKS", "4"}}, "srun"}};
  for (const Case& one : cases) {
    const Launched environment(one.variables);
    const auto launched = launched_rank();
    ASSERT_TRUE(launched) << one.launcher;
    EXPECT_THAT(launched->launcher, HasSubstr(one.launcher));
    EXPECT_EQ(launched->rank, 3) << one.launcher;
    EXPECT_EQ(launched->size, 4) << one.launcher;
    EXPECT_EQ(launched->is_open_mpi, one.launcher == std::string("Open MPI"));
  }
}

// Ranks of mpirun on the other nodes of a Slurm job have the variables of the srun that started mpirun's own daemons.
TEST(LaunchedRank, OfMpirunWithinAStepOfSlurmIsMpiruns) {
  const Launched environment({{"OMPI_COMM_WORLD_RANK", "5"},
                              {"OMPI_COMM_WORLD_SIZE", "8"},
                              {"SLURM_PROCID", "1"},
                              {"SLURM_STEP_NUM_TASKS", "2"}});
  EXPECT_EQ(launched_rank()->rank, 5);
  EXPECT_EQ(launched_rank()->size, 8);
}

TEST(LaunchedRank, OfABatchScriptItselfHasNoSize) {
  const Launched environment({{"SLURM_PROCID", "0"}, {"SLURM_NTASKS", "4"}});
  ASSERT_TRUE(launched_rank());
  EXPECT_EQ(launched_rank()->size, 0);
}

TEST(LaunchedRank, IsNothingWithoutALauncher) {
  const Launched environment({});
  EXPECT_FALSE(launched_rank());
}

}  // namespace
}  // namespace kangpt::base
