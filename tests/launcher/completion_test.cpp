// What shells complete: the functions of the scripts, and shells that somebody types into.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <vector>

#include "tests/support/files.hpp"
#include "tests/support/program.hpp"

namespace kangpt::test {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

std::string script_of(const std::string& program, const std::string& shell) {
  const ProgramResult result = run_program({program_path(program), "--print-completion", shell});
  EXPECT_EQ(result.exit_code, 0) << result.all_output();
  return result.stdout_text;
}

class Completion : public ::testing::Test {
 protected:
  Completion() {
    write_text(folder_ / "a folder/b.textproto", "");
    for (const std::string shell : {"bash", "zsh"})
      write_text(folder_ / shell, script_of("kangpt_dist", shell) + script_of("kangpt_preprocess", shell));
  }

  // What bash offers for the last of `words`, which are as bash splits them; sorted, between blanks.
  std::string offered(const std::string& program, const std::string& words) const {
    const std::string script =
        "source " + (folder_ / "bash").string() + "; COMP_WORDS=(" + program + " " + words +
        "); COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); _" + program +
        "; [[ ${#COMPREPLY[@]} == 0 ]] || printf '%s\\n' \"${COMPREPLY[@]}\" | sort | tr '\\n' ' '";
    const ProgramResult result = run_program({"bash", "-c", script}, {.working_directory = folder_.path()});
    EXPECT_EQ(result.exit_code, 0) << result.all_output();
    EXPECT_THAT(result.stderr_text, IsEmpty());
    return result.stdout_text;
  }

  // Programs in the path that say what they are called with, instead of the project's.
  ProgramOptions with_stand_ins() const {
    for (const std::string name : {"kangpt_dist", "kangpt_preprocess", "mpirun"}) {
      write_text(folder_ / "bin" / name, "#!/bin/sh\nprintf called:; printf ' <%s>' \"$@\"; echo\n");
      fs::permissions(folder_ / "bin" / name, fs::perms::owner_all);
    }
    return {.environment = {{"PATH", (folder_ / "bin").string() + ":" + std::getenv("PATH")}},
            .working_directory = folder_.path()};
  }

  // The commands that shell makes of what is typed, a line each.
  std::string typed(const std::string& shell, const std::vector<std::string>& texts) const {
    const fs::path typist = source_directory() / "tests/launcher/type_in_shell.py";
    std::vector<std::string> command = {"python3", typist.string(), shell, (folder_ / shell).string()};
    command.insert(command.end(), texts.begin(), texts.end());
    const ProgramResult result = run_program(command, with_stand_ins());
    EXPECT_EQ(result.exit_code, 0) << result.all_output();
    return result.stdout_text;
  }

  TemporaryDirectory folder_;
};

const std::vector<std::string> kTyped = {"kangpt_dist --set optimizer.sch<TAB>COS<TAB> --pla<TAB>",
                                         "kangpt_dist --config a<TAB>b<TAB>", "kangpt_dist --help-c<TAB>opti<TAB>",
                                         "kangpt_preprocess sh<TAB>--spl<TAB>va<TAB>"};
constexpr const char* kCalled =
    "<--set> <optimizer.schedule=COSINE> <--plan>\n<--config> <a folder/b.textproto>\n<--help-config> <optimizer>\n"
    "<show> <--split> <validation>\n";

TEST_F(Completion, OffersOptionsCommandsAndFiles) {
  EXPECT_EQ(offered("kangpt_dist", "--p"), "--plan --print-config ");
  EXPECT_EQ(offered("kangpt_dist", "--plan --he"), "--help --help-config ");
  EXPECT_EQ(offered("kangpt_preprocess", "''"), "show verify ");
  EXPECT_EQ(offered("kangpt_preprocess", "verify --s"), "");
  EXPECT_EQ(offered("kangpt_preprocess", "show --s"), "--split --story ");
  EXPECT_EQ(offered("kangpt_preprocess", "show a"), "a folder ");
  EXPECT_EQ(offered("kangpt_preprocess", "--output show --inp"), "--input ") << "the value of an option";
  EXPECT_EQ(offered("kangpt_dist", "--config 'a folder/'"), "a folder/b.textproto ");
  EXPECT_EQ(offered("kangpt_dist", "--config = a"), "a folder ");
}

TEST_F(Completion, OffersTheValuesThatThereAre) {
  EXPECT_EQ(offered("kangpt_preprocess", "--invalid-utf8 ''"), "error replace ");
  EXPECT_EQ(offered("kangpt_preprocess", "--invalid-utf8 = r"), "replace ");
  EXPECT_EQ(offered("kangpt_preprocess", "--workers ''"), "") << "a number";
  EXPECT_EQ(offered("kangpt_dist", "--help-config o"), "optimizer ");
}

TEST_F(Completion, OffersTheFieldsOfTheConfigurationAndTheirValues) {
  EXPECT_EQ(offered("kangpt_dist", "--set train.s"), "train.steps= ");
  EXPECT_EQ(offered("kangpt_dist", "--set train.steps=3 --set optimizer.s"), "optimizer.schedule= ");
  EXPECT_EQ(offered("kangpt_dist", "--set model.feed_forward ="), "GROUPED_KAN HYBRID KAN MLP RATIONAL_KAN SWIGLU ");
  EXPECT_EQ(offered("kangpt_dist", "--set model.feed_forward = H"), "HYBRID ");
  EXPECT_EQ(offered("kangpt_dist", "--set train.steps = ''"), "");
  EXPECT_EQ(offered("kangpt_dist", "--set train.steps = --pl"), "--plan ");
  EXPECT_EQ(offered("kangpt_dist", "--set log.profile=t"), "true ") << "where bash does not split at =";
}

TEST_F(Completion, WorksWhereSomebodyTypesIntoBash) {
  EXPECT_EQ(typed("bash", kTyped), kCalled);
  EXPECT_EQ(typed("bash", {"mpirun -np 2 kangpt_dist --set model.mixer=SEP<TAB>"}),
            "<-np> <2> <kangpt_dist> <--set> <model.mixer=SEPARABLE_CONV>\n");
}

TEST_F(Completion, WorksWhereSomebodyTypesIntoZsh) {
  if (run_program({"sh", "-c", "command -v zsh"}).exit_code != 0) GTEST_SKIP() << "zsh is not installed";
  EXPECT_EQ(typed("zsh", kTyped), kCalled);
}

TEST_F(Completion, OfAnotherShellIsRefused) {
  const ProgramResult result = run_program({program_path("kangpt_dist"), "--print-completion", "fish"});
  EXPECT_EQ(result.exit_code, 64);
  EXPECT_THAT(result.stderr_text, HasSubstr("valid: bash, zsh"));
}

// --help-config, as a user calls it.
TEST(HelpConfig, PrintsOneSectionAndNamesTheValidOnes) {
  const auto call = [](const std::vector<std::string>& arguments) {
    std::vector<std::string> command = {program_path("kangpt_dist"), "--help-config"};
    command.insert(command.end(), arguments.begin(), arguments.end());
    return run_program(command);
  };
  const ProgramResult one = call({"train"});
  EXPECT_EQ(one.exit_code, 0) << one.all_output();
  EXPECT_THAT(one.stdout_text, AllOf(HasSubstr("train.batch_size\n"), HasSubstr("default 16"), Not(HasSubstr("\x1b"))));
  EXPECT_THAT(one.stdout_text, Not(HasSubstr("optimizer.")));
  EXPECT_GT(call({}).stdout_text.size(), one.stdout_text.size());
  const ProgramResult wrong = call({"trian"});
  EXPECT_EQ(wrong.exit_code, 64);
  EXPECT_THAT(wrong.stderr_text, HasSubstr("did you mean 'train'? Valid: run, data, model"));
}

}  // namespace
}  // namespace kangpt::test
