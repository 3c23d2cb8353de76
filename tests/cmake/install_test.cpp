// What `cmake --install` puts into a folder.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>
#include <vector>

#include "tests/support/files.hpp"
#include "tests/support/program.hpp"

namespace kangpt::test {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

bool is_installed(const std::string& program) {
  return run_program({"sh", "-c", "command -v " + program}).exit_code == 0;
}

std::set<std::string> names_in(const fs::path& folder) {
  std::set<std::string> names;
  std::error_code missing;
  for (const auto& entry : fs::directory_iterator(folder, missing)) names.insert(entry.path().filename());
  return names;
}

// An installed tree without LibTorch, which is half a gigabyte: in its place a link to the one of the build.
class Install : public ::testing::Test {
 protected:
  Install() {
    const ProgramResult result = run_program(
        {KANGPT_CMAKE, "--install", KANGPT_BUILD, "--prefix", prefix().string(), "--component", "programs"});
    EXPECT_EQ(result.exit_code, 0) << result.all_output();
    const fs::path libraries = prefix() / KANGPT_LIBRARIES;
    fs::create_directories(libraries);
    for (const char* const folder : {"torch", "nvidia"})
      fs::create_directory_symlink(fs::path(KANGPT_TORCH_ROOT) / folder, libraries / folder);
  }

  fs::path prefix() const { return folder_ / "opt"; }

  // In an empty folder, with nothing that says where the project or its cache may lie.
  ProgramResult run(const std::string& program, std::vector<std::string> arguments) const {
    arguments.insert(arguments.begin(), {"env", "-u", "HOME", "-u", "KANGPT_CACHE", "-u", "LD_LIBRARY_PATH",
                                         (prefix() / "bin" / program).string()});
    return run_program(arguments, {.working_directory = folder_ / "empty"});
  }

  TemporaryDirectory folder_;
};

TEST_F(Install, ProgramsFindVocabularyAndConfigurationsBesideThemselves) {
  fs::create_directory(folder_ / "empty");
  EXPECT_EQ(run("kangpt_stories", {"--bytes", "20000", "--output", "stories.txt"}).exit_code, 0);
  const ProgramResult made = run("kangpt_preprocess", {"--input", "stories.txt", "--output", "shards"});
  EXPECT_EQ(made.exit_code, 0) << made.all_output();
  const ProgramResult printed = run("kangpt_dist", {"--config", "configs/tiny_cpu.textproto", "--print-config"});
  EXPECT_EQ(printed.exit_code, 0) << printed.all_output();
  EXPECT_THAT(printed.stdout_text, HasSubstr((prefix() / "share/kangpt/configs/tiny_cpu.textproto:").string()));
  const ProgramResult absent = run("kangpt_dist", {"--config", "configs/tiny.textproto", "--print-config"});
  EXPECT_EQ(absent.exit_code, 66) << absent.all_output();

  write_text(folder_ / "empty/configs/tiny_cpu.textproto", "train { steps: 77 }\n");
  EXPECT_THAT(run("kangpt_dist", {"--config", "configs/tiny_cpu.textproto", "--print-config"}).stdout_text,
              HasSubstr("steps: 77"))
      << "the user's own file comes first";
}

TEST_F(Install, NothingNamesTheCacheOrTheBuildFolder) {
  for (const std::string& program : names_in(prefix() / "bin")) {
    const std::string text = run_program({"readelf", "-d", (prefix() / "bin" / program).string()}).stdout_text;
    EXPECT_THAT(text, HasSubstr("$ORIGIN/../")) << program;
    EXPECT_THAT(text, Not(HasSubstr(KANGPT_TORCH_ROOT))) << program;
    EXPECT_THAT(text, Not(HasSubstr(KANGPT_BUILD))) << program;
    EXPECT_THAT(text, Not(HasSubstr("libmpi_cxx"))) << program << ": Open MPI 5 has none";
  }
  EXPECT_TRUE(fs::exists(prefix() / "share/doc/kangpt/LICENSE"));
}

TEST_F(Install, ProgramsStartAndTellAboutThemselves) {
  const fs::path folder = prefix();
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
