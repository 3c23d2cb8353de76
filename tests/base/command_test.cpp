#include "base/command.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>

#include "tests/support/files.hpp"
#include "tests/support/program.hpp"

namespace kangpt::base {
namespace {

using ::testing::HasSubstr;

TEST(ShellCommand, IsReadByAShellWordForWord) {
  const std::vector<std::string> words = {"printf", "<%s>", "plain/path-1.txt", "my run", "",  "it's", "~/x", "$HOME",
                                          "a;b",    "*",    "new\nline",        "\"",     "\\"};
  const test::ProgramResult result = test::run_program({"bash", "-c", shell_command(words)});
  std::string expected;
  for (std::size_t i = 2; i < words.size(); ++i) expected += "<" + words[i] + ">";
  EXPECT_EQ(result.stdout_text, expected) << result.stderr_text;
  EXPECT_EQ(shell_command({"kangpt_eval", "--data", "a/b_c.d"}), "kangpt_eval --data a/b_c.d");
}

// The folder of this test program gets a sibling that looks like one of ours.
class ProgramFolder : public testing::Test {
 protected:
  ProgramFolder() {
    test::write_text(sibling_, "#!/bin/sh\n");
    std::filesystem::permissions(sibling_, std::filesystem::perms::owner_all);
  }
  ~ProgramFolder() override {
    ::setenv("PATH", path_.c_str(), 1);
    std::filesystem::remove(sibling_);
  }

  const std::string path_ = std::getenv("PATH");
  const std::filesystem::path sibling_ = program_folder() / "kangpt_sibling";
};

TEST_F(ProgramFolder, IsSaidWhereAShellDoesNotFindTheSuggestedProgram) {
  for (const std::string hint : {"try: kangpt_sibling --all 'x y'", "try: kangpt_sibling show --all"}) {
    EXPECT_THAT(with_program_folder(hint),
                AllOf(HasSubstr(hint + "\n"), HasSubstr("export PATH=" + program_folder().string() + ":$PATH")));
  }
  for (const std::string text :
       {"another kangpt_sibling is writing x", "kangpt_absent --all", "bin/kangpt_sibling --help", ""})
    EXPECT_EQ(with_program_folder(text), text);
  ::setenv("PATH", (program_folder().string() + ":" + path_).c_str(), 1);
  EXPECT_EQ(with_program_folder("try: kangpt_sibling --all"), "try: kangpt_sibling --all");
}

}  // namespace
}  // namespace kangpt::base
