// What surrounds the programs: limits, locks, standard output, the home directory, libraries, other processes.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cerrno>
#include <csignal>
#include <thread>

#include "tests/end_to_end/shared_workspace.hpp"

namespace kangpt::test {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::SizeIs;

const std::vector<std::string> kPrograms = {"kangpt_chaos",    "kangpt_checkpoint", "kangpt_dist",   "kangpt_eval",
                                            "kangpt_generate", "kangpt_preprocess", "kangpt_report", "kangpt_simulate",
                                            "kangpt_stories",  "kangpt_worker"};

using Words = std::vector<std::string>;

class EnvironmentTest : public SharedWorkspace<Corpus::kStories> {
 protected:
  static Words training(const std::string& name, const Words& settings = {}) {
    Words words = training_arguments(name, settings);
    words.insert(words.begin(), program_path("kangpt_dist"));
    return words;
  }

  static ProgramResult run(const Words& command, const std::map<std::string, std::string>& environment = {}) {
    ProgramOptions options = workspace().options();
    for (const auto& [name, value] : environment) options.environment[name] = value;
    return run_program(command, options);
  }

  // `script` is bash that ends with the command as "$@".
  static ProgramResult under(const std::string& script, const Words& command,
                             const std::map<std::string, std::string>& environment = {}) {
    Words words = {"bash", "-c", script, "bash"};
    words.insert(words.end(), command.begin(), command.end());
    return run(words, environment);
  }

  static Words preprocessing(const std::string& output) {
    return {program_path("kangpt_preprocess"), "--input", "stories.txt", "--output", output, "--vocabulary",
            vocabulary_file().string()};
  }

  static bool exists(const std::string& name) { return fs::exists(workspace().path() / name); }
};

TEST_F(EnvironmentTest, StandardOutputThatTakesNothingIsAnError) {
  ASSERT_EQ(run(training("printed")).exit_code, 0);
  std::vector<Words> commands = {{program_path("kangpt_checkpoint"), "list", "printed"},
                                 {program_path("kangpt_checkpoint"), "digest", "printed"},
                                 {program_path("kangpt_preprocess"), "verify", "data"},
                                 {program_path("kangpt_stories"), "--bytes", "100"}};
  for (const std::string& program : kPrograms) {
    for (const char* const flag : {"--version", "--help"}) commands.push_back({program_path(program), flag});
  }
  for (const char* const flag : {"--plan", "--print-config"}) {
    commands.push_back(training("plan"));
    commands.back().emplace_back(flag);
  }
  for (const Words& command : commands) {
    for (const char* const script : {"exec \"$@\" >/dev/full", "exec \"$@\" >&-"}) {
      const ProgramResult result = under(script, command);
      EXPECT_EQ(result.exit_code, 74) << command[0] << " " << command[1] << ": " << script << result.stderr_text;
      EXPECT_THAT(result.stderr_text, HasSubstr("cannot write standard output"));
    }
  }
}

TEST_F(EnvironmentTest, StandardOutputThatIsNotNeededMayBeClosed) {
  const ProgramResult result =
      under("exec \"$@\" >&- 2>&- <&-", {program_path("kangpt_stories"), "--bytes", "100", "--output", "closed.txt"});
  EXPECT_EQ(result.exit_code, 0);
  EXPECT_THAT(read_text(workspace().path() / "closed.txt"), HasSubstr("<|endoftext|>"));
}

TEST_F(EnvironmentTest, AReaderThatEndsEarlyEndsTheProgramQuietly) {
  const ProgramResult result =
      under("\"$@\" | head -c 10; exit ${PIPESTATUS[0]}", {program_path("kangpt_stories"), "--bytes", "5000000"});
  EXPECT_EQ(result.exit_code, 128 + SIGPIPE);
  EXPECT_EQ(result.stderr_text, "");
}

TEST_F(EnvironmentTest, ALimitOnTheSizeOfFilesIsAnErrorOfIo) {
  ASSERT_EQ(run(training("limited")).exit_code, 0);
  const std::vector<std::pair<const char*, Words>> commands = {
      {"ulimit -f 100; exec \"$@\"", preprocessing("limited_data")},
      {"ulimit -f 100; exec \"$@\"",
       {program_path("kangpt_checkpoint"), "export", "--output", "x.safetensors", "limited"}},
      {"ulimit -f 100; exec \"$@\"", {program_path("kangpt_stories"), "--bytes", "1000000", "--output", "long.txt"}},
      {"ulimit -f 500; exec \"$@\"", training("limited_run")},
      {"ulimit -f 500; exec \"$@\"", workspace().training_command(2, "limited_run")},
      {"ulimit -f 8000; exec \"$@\"", training("limited_run", {"model.d_model=32", "model.heads=2"})}};
  for (const auto& [script, command] : commands) {
    const ProgramResult result = under(script, command);
    EXPECT_EQ(result.exit_code, 74) << command[0] << ": " << result.all_output();
    EXPECT_THAT(result.stderr_text, HasSubstr("File too large"));
  }
}

TEST_F(EnvironmentTest, AFileSystemWithoutLocksIsSaidAndUsed) {
  for (const int error : {ENOLCK, ENOSYS, EOPNOTSUPP}) {
    const std::string name = "unlocked-" + std::to_string(error);
    const std::map<std::string, std::string> no_locks = {{"LD_PRELOAD", KANGPT_FAILING_LOCKS},
                                                         {"KANGPT_LOCK_ERROR", std::to_string(error)}};
    for (const Words& command : {preprocessing(name + "-data"), training(name), training(name, {"train.steps=14"})}) {
      const ProgramResult result = run(command, no_locks);
      EXPECT_EQ(result.exit_code, 0) << result.all_output();
      EXPECT_THAT(result.stderr_text,
                  AllOf(HasSubstr("cannot lock"), HasSubstr(std::strerror(error)), Not(HasSubstr("in use"))));
    }
  }
}

TEST_F(EnvironmentTest, ALockThatAnotherJobHoldsNamesIt) {
  const ProgramResult result =
      under("mkdir -p held; echo 'process 1 on somewhere' >held/lock; exec flock held/lock \"$@\"", training("held"));
  EXPECT_EQ(result.exit_code, 78) << result.all_output();
  EXPECT_THAT(result.stderr_text, HasSubstr("in use by process 1 on somewhere"));
}

TEST_F(EnvironmentTest, ATildeIsTheHomeDirectory) {
  const fs::path home = workspace().path() / "home";
  const std::map<std::string, std::string> at_home = {{"HOME", home.string()}};
  const auto make = [&](const Words& command) {
    const ProgramResult result = run(command, at_home);
    EXPECT_EQ(result.exit_code, 0) << result.all_output();
    EXPECT_FALSE(exists("~")) << command[0];
  };
  make(preprocessing("~/data"));
  Words attached = preprocessing("");
  std::erase_if(attached, [](const std::string& word) { return word.empty() || word == "--output"; });
  attached.emplace_back("--output=~/attached");
  make(attached);
  make(training("~/run", {"data.directory=~/data"}));
  make({program_path("kangpt_checkpoint"), "export", "--output=~/w.safetensors", "~/run"});
  make(training("~/other", {"data.directory=~/data", "model.initial_weights=~/w.safetensors"}));
  for (const char* const made : {"data/manifest.textproto", "attached/manifest.textproto", "run/summary.json",
                                 "w.safetensors", "other/summary.json"})
    EXPECT_TRUE(fs::exists(home / made)) << made;
  const ProgramResult text = run({program_path("kangpt_generate"), "--checkpoint=~/run", "--prompt", "~/x", "--tokens",
                                  "1", "--vocabulary", vocabulary_file().string()},
                                 at_home);
  EXPECT_THAT(text.stdout_text, testing::StartsWith("~/x")) << text.stderr_text;
}

TEST_F(EnvironmentTest, WithoutAHomeTheVariablesAreNamed) {
  const ProgramResult result =
      under("unset HOME KANGPT_CACHE; exec \"$@\"",
            {program_path("kangpt_preprocess"), "--input", "stories.txt", "--output", "homeless"});
  EXPECT_EQ(result.exit_code, 66);
  EXPECT_THAT(result.stderr_text, AllOf(HasSubstr("HOME"), HasSubstr("KANGPT_CACHE")));
}

// Open MPI 5 starts nothing without a HOME.
TEST_F(EnvironmentTest, WithoutAHomeAJobTrains) {
  const ProgramResult result = under("unset HOME; exec \"$@\"", training("homeless_run"));
  EXPECT_EQ(result.exit_code, 0) << result.all_output();
}

TEST_F(EnvironmentTest, TheSuggestedCommandCanBePasted) {
  const ProgramResult trained = run(training("my run"));
  ASSERT_EQ(trained.exit_code, 0) << trained.all_output();
  const std::string lead = "read what it learnt: ";
  const auto begin = trained.stderr_text.find(lead) + lead.size();
  const std::string hint = trained.stderr_text.substr(begin, trained.stderr_text.find('\n', begin) - begin);
  const std::string folder = fs::path(program_path("kangpt_dist")).parent_path().string();
  EXPECT_THAT(trained.stderr_text, HasSubstr("export PATH=" + folder + ":$PATH"));
  const ProgramResult pasted = run({"bash", "-c", "PATH=" + folder + ":$PATH; " + hint + " --tokens 2 --threads 1"});
  EXPECT_EQ(pasted.exit_code, 0) << hint << pasted.all_output();
  EXPECT_THAT(pasted.stdout_text, HasSubstr("Once upon a time"));
}

TEST_F(EnvironmentTest, ThePlanRefusesWhatTheStartWould) {
  write_text(workspace().path() / "short.txt", "Tom ran.\n");
  Words with_validation = preprocessing("short");
  with_validation.insert(with_validation.end(), {"--validation", "short.txt"});
  ASSERT_EQ(run(with_validation).exit_code, 0);
  write_text(workspace().path() / "file", "");
  const std::vector<std::pair<std::string, Words>> refused = {
      {"refused", {"data.directory=short", "data.sequence_length=64"}},
      {"file/run", {}},
      {"refused", {"model.d_model=65536", "model.layers=1024", "model.heads=1"}}};
  for (const auto& [name, settings] : refused) {
    const ProgramResult start = run(training(name, settings));
    Words plan = training(name, settings);
    plan.emplace_back("--plan");
    const ProgramResult planned = run(plan);
    EXPECT_NE(start.exit_code, 0);
    EXPECT_EQ(planned.exit_code, start.exit_code) << start.stderr_text << planned.all_output();
  }
}

// The loader looks into a folder that is not there.
TEST_F(EnvironmentTest, AWorkerWithoutItsLibrariesIsSaidAtOnce) {
  const fs::path copies = workspace().path() / "copied";
  fs::create_directories(copies);
  for (const char* const program : {"kangpt_dist", "kangpt_worker"}) fs::copy(program_path(program), copies);
  std::string worker = read_text(copies / "kangpt_worker");
  const std::string place = "/torch/lib", nowhere = "/tarch/lib";
  for (auto at = worker.find(place); at != std::string::npos; at = worker.find(place, at + 1))
    worker.replace(at, place.size(), nowhere);
  write_text(copies / "kangpt_worker", worker);

  Words command = training("unlinked");
  command[0] = (copies / "kangpt_dist").string();
  const ProgramResult result = run(command);
  EXPECT_EQ(result.exit_code, 78) << result.all_output();
  EXPECT_THAT(result.stderr_text, AllOf(HasSubstr("libtorch_cpu.so"), HasSubstr(nowhere), HasSubstr("make setup")));
  EXPECT_THAT(workspace().events("unlinked", "failure"), SizeIs(1));
  EXPECT_THAT(workspace().events("unlinked", "restart"), IsEmpty());
}

TEST_F(EnvironmentTest, OneRankPrintsTheConfigurationUnderAnyLauncher) {
  Words command = training("printed");
  command.emplace_back("--print-config");
  for (const char* const variable : {"OMPI_COMM_WORLD_RANK", "PMIX_RANK", "PMI_RANK", "SLURM_PROCID"}) {
    EXPECT_THAT(run(command, {{variable, "0"}}).stdout_text, HasSubstr("train"));
    EXPECT_EQ(run(command, {{variable, "3"}}).stdout_text, "") << variable;
  }
}

// As an mpirun does that belongs to another MPI than the programs: it starts processes, and MPI knows nothing of it.
constexpr const char* kOtherMpirun = R"SHELL(
size=$1; shift
for ((rank = 0; rank < size; ++rank)); do PMI_RANK=$rank PMI_SIZE=$size "$@" & done
for job in $(jobs -p); do wait "$job"; code=$?; ((code == 64)) || exit 1; done
exit "$code"
)SHELL";

TEST_F(EnvironmentTest, AnMpirunOfAnotherMpiIsNamedOnce) {
  Words command = training("mixed");
  command.insert(command.begin(), {"bash", "-c", kOtherMpirun, "mpirun", "3"});
  const ProgramResult result = run(command);
  EXPECT_EQ(result.exit_code, 64) << result.all_output();
  const std::string problem = "MPICH's family (PMI_SIZE) started 3 processes, but the MPI library here, Open MPI v";
  const auto said = result.stderr_text.find(problem);
  EXPECT_NE(said, std::string::npos) << result.all_output();
  EXPECT_EQ(result.stderr_text.find(problem, said + 1), std::string::npos) << "said by one rank alone";
  EXPECT_FALSE(fs::exists(workspace().run("mixed"))) << "nothing was begun";
}

TEST_F(EnvironmentTest, AWorkerStartedByHandIsWrongUsage) {
  for (const Words& arguments : {Words{}, Words{"--agent-socket", "77", "--shared-memory", "78"}, Words{"--socket"}}) {
    const ProgramResult result = workspace().call("kangpt_worker", arguments);
    EXPECT_EQ(result.exit_code, 64) << result.all_output();
    EXPECT_THAT(result.stderr_text, HasSubstr("kangpt_worker"));
  }
}

std::string environment_of(pid_t pid) {
  try {
    return read_text("/proc/" + std::to_string(pid) + "/environ");
  } catch (const std::exception&) {
    return "";  // it has ended
  }
}

// The environment of the first process whose command line contains `name`, once it has `variable`; what it was where it
// never does.
std::string await_environment(BackgroundProgram& program, const std::string& name, const std::string& variable) {
  std::string environment;
  while (program.running() && environment.find(variable) == std::string::npos) {
    for (const pid_t pid : program.processes()) {
      if (command_line(pid).find(name) != std::string::npos) environment = environment_of(pid);
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
  return environment;
}

// Waiting threads give way to other processes, unless the user decides otherwise.
TEST_F(EnvironmentTest, IdleThreadsSpinBriefly) {
  ASSERT_EQ(run(training("spun")).exit_code, 0);
  const std::vector<std::pair<std::string, Words>> commands = {
      {"kangpt_worker", training("spinning", {"train.steps=100000"})},
      {"kangpt_generate",
       {program_path("kangpt_generate"), "--checkpoint", "spun", "--prompt", "", "--count", "100000"}},
  };
  for (const auto& [name, command] : commands) {
    Words words = {"env", "-u", "OMP_WAIT_POLICY", "-u", "GOMP_SPINCOUNT"};
    words.insert(words.end(), command.begin(), command.end());
    BackgroundProgram program(words, workspace().options());
    EXPECT_THAT(await_environment(program, name, "GOMP_SPINCOUNT="), HasSubstr("GOMP_SPINCOUNT=")) << name;
    program.send_signal(SIGKILL);
    program.wait();

    words[2] = "NOTHING";
    words.insert(words.begin() + 5, "OMP_WAIT_POLICY=active");
    BackgroundProgram decided(words, workspace().options());
    EXPECT_THAT(await_environment(decided, "/" + name + " ", "OMP_WAIT_POLICY=active"),
                Not(HasSubstr("GOMP_SPINCOUNT")));
    decided.send_signal(SIGKILL);
    decided.wait();
  }
}

}  // namespace
}  // namespace kangpt::test
