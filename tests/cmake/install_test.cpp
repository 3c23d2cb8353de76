// What `cmake --install` puts into a folder.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

#include "tests/support/files.hpp"
#include "tests/support/program.hpp"

namespace kangpt::test {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;

bool is_installed(const std::string& program) {
  return run_program({"sh", "-c", "command -v " + program}).exit_code == 0;
}

std::set<std::string> names_in(const fs::path& folder) {
  std::set<std::string> names;
  std::error_code missing;
  for (const auto& entry : fs::directory_iterator(folder, missing)) names.insert(entry.path().filename());
  return names;
}

TEST(Install, ProgramsStartAndTellAboutThemselves) {
  const TemporaryDirectory folder;
  const ProgramResult result =
      run_program({KANGPT_CMAKE, "--install", KANGPT_BUILD, "--prefix", folder.path().string()});
  ASSERT_EQ(result.exit_code, 0) << result.all_output();
  std::set<std::string> completions, zsh, pages;
  for (const std::string& program : names_in(folder / "bin")) {
    if (program.find("worker") != std::string::npos) continue;
    const ProgramResult version = run_program({(folder / "bin" / program).string(), "--version"});
    EXPECT_EQ(version.exit_code, 0) << version.all_output();
    completions.insert(program);
    zsh.insert("_" + program);
    pages.insert(program + ".1");
  }
  EXPECT_EQ(completions.count("kangpt_dist"), 1U);
  EXPECT_TRUE(fs::exists(folder / "bin/kangpt_worker")) << "beside kangpt_dist, which starts it";
  EXPECT_EQ(names_in(folder / "share/bash-completion/completions"), completions);
  EXPECT_EQ(names_in(folder / "share/zsh/site-functions"), zsh);
  const fs::path manuals = folder / "share/man/man1";
  if (!fs::exists(manuals)) GTEST_SKIP() << "no man pages: help2man was not installed when the build was configured";
  EXPECT_EQ(names_in(manuals), pages);
  if (!is_installed("man") || !is_installed("lexgrog")) GTEST_SKIP() << "man-db is not installed";
  for (const std::string& page : pages) {
    const std::string file = (manuals / page).string();
    EXPECT_THAT(run_program({"lexgrog", file}).stdout_text, HasSubstr(page.substr(0, page.size() - 2) + " - "));
    const ProgramResult shown = run_program({"man", "--warnings", "-E", "UTF-8", "-l", file},
                                            {.environment = {{"MANWIDTH", "80"}, {"LC_ALL", "C.UTF-8"}}});
    EXPECT_THAT(shown.stderr_text, IsEmpty()) << page;
    EXPECT_THAT(shown.stdout_text, HasSubstr("--version"));
  }
}

}  // namespace
}  // namespace kangpt::test
