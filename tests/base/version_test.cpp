#include "base/version.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace kangpt::base {
namespace {

TEST(Version, NamesTheProgramAndEveryLibrary) {
  EXPECT_THAT(version_text("kangpt_dist"), testing::MatchesRegex("kangpt_dist [0-9]+[.][0-9]+[.][0-9]+[^\n]*\n"
                                                                 "LibTorch [0-9]+[.][0-9.]+\n"
                                                                 "NCCL ([0-9]+[.][0-9.]+|not built)\n"
                                                                 "MPI [^\n]*[0-9]+[.][0-9][^\n]*\n"
                                                                 "HDF5 [0-9]+[.][0-9.]+\n"));
}

}  // namespace
}  // namespace kangpt::base
