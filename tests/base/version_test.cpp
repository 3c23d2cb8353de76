#include "base/version.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <regex>

#include "tests/support/files.hpp"

namespace kangpt::base {
namespace {

TEST(Version, NamesTheProgramAndEveryLibrary) {
  EXPECT_THAT(version_text("kangpt_dist"), testing::MatchesRegex("kangpt_dist [0-9]+[.][0-9]+[.][0-9]+[^\n]*\n"
                                                                 "LibTorch [0-9]+[.][0-9.]+\n"
                                                                 "NCCL ([0-9]+[.][0-9.]+|not built)\n"
                                                                 "MPI [^\n]*[0-9]+[.][0-9][^\n]*\n"
                                                                 "HDF5 [0-9]+[.][0-9.]+\n"));
}

// The first match of a pattern with one group in a file of the repository.
std::string found_in(const std::string& file, const std::string& pattern) {
  const std::string text = test::read_text(test::source_directory() / file);
  std::smatch match;
  return std::regex_search(text, match, std::regex(pattern)) ? match[1].str() : file + " has no " + pattern;
}

TEST(Version, IsTheNewestReleaseOfTheChangelogAndTheOneOfCMake) {
  const std::string release = found_in("CHANGELOG.md", "\n## \\[([0-9][^\\]]*)\\]");
  EXPECT_EQ(found_in("CMakeLists.txt", "project\\(kangpt VERSION ([0-9.]+)"), release);
  EXPECT_THAT(version_text("kangpt_dist"), testing::ContainsRegex("^kangpt_dist " + release + "[ \n]"));
}

}  // namespace
}  // namespace kangpt::base
