// Jobs that are harmed end with the bits of a job that nobody harmed. Real mpirun, real signals.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstring>
#include <functional>

#include "tests/end_to_end/shared_workspace.hpp"

namespace kangpt::test {
namespace {

using ::testing::ContainsRegex;
using ::testing::HasSubstr;

constexpr int kStopped = 75;

class Recovery : public ComparedJob {
 protected:
  static void expect_done(const ProgramResult& result) { ASSERT_EQ(result.exit_code, 0) << result.all_output(); }

  // Of metrics.jsonl, which may not be there yet.
  static std::uintmax_t logged_bytes(const std::string& run) {
    std::error_code missing;
    const std::uintmax_t size = fs::file_size(job_->run(run) / "metrics.jsonl", missing);
    return missing ? 0 : size;
  }
};

TEST_F(Recovery, WorkersThatDieAreReplacedWithoutATrace) {
  expect_done(job_->train(
      2, "run",
      {"fault.inject=segv@rank=1,step=2,phase=reduce", "fault.inject=kill@rank=0,step=4,phase=checkpoint",
       "fault.inject=abort@rank=1,step=5,phase=gather", "fault.inject=exit@rank=0,step=6,phase=data",
       "fault.inject=bitflip@rank=1,step=8,phase=backward", "fault.inject=kill@rank=0,step=10,phase=forward",
       "fault.inject=segv@rank=1,step=10,phase=forward", "fault.inject=kill@rank=1,step=12,phase=checkpoint"}));
  expect_same_as_reference("run");
  const auto failures = job_->events("run", "failure");
  ASSERT_GE(failures.size(), 7U);  // of the two at step 10, the first may hide the second
  EXPECT_EQ(failures[0].at("rank"), 1);
  EXPECT_EQ(failures[0].at("signal"), SIGSEGV);
  EXPECT_EQ(failures[0].at("phase"), "reduce");
  EXPECT_EQ(failures[0].at("step"), 2);
  EXPECT_EQ(failures[4].at("rank"), 1);
  EXPECT_THAT(failures[4].at("cause"), HasSubstr("rank 1 is out of step"));
  EXPECT_THAT(read_text(job_->run("run") / "crash-rank-1.txt"), HasSubstr("enter"));
  for (const auto& restart : job_->events("run", "restart")) EXPECT_LE(restart.at("steps_lost"), 1);
}

TEST_F(Recovery, StoppedWorkerIsNamedAndReplaced) {
  const ProgramResult result =
      job_->train(2, "stop", {"fault.hang_timeout_seconds=3", "fault.inject=stop@rank=1,step=7,phase=forward"});
  expect_done(result);
  expect_same_as_reference("stop");
  EXPECT_THAT(result.all_output(),
              ContainsRegex("rank 1 stuck [0-9.]+ s in forward at step 7; .*fault.hang_timeout_seconds"));
}

TEST_F(Recovery, WorldSizeDoesNotMatter) {
  EXPECT_EQ(job_->train(4, "sizes", {"fault.inject=segv@rank=3,step=3"}).exit_code, 0);
  expect_same_as_reference("sizes");
}

// Borders between ranks lie in matrices: a crash on entering "update" comes before they exchange directions, one on
// entering "gather" behind that. Snapshots are three steps apart; a gradient that is not finite reaches no moment.
TEST_F(Recovery, MuonGoesOnWithMatricesThatRanksShare) {
  std::vector<std::string> settings = {"optimizer.muon_learning_rate=0.02", "model.feed_forward=MLP",
                                       "model.mlp_hidden=640", "checkpoint.snapshot_interval_steps=3",
                                       "fault.inject=nan@rank=0,step=5,phase=reduce"};
  expect_done(job_->train(1, "muon_alone", settings));
  settings.insert(settings.end(),
                  {"fault.inject=kill@rank=1,step=2,phase=update", "fault.inject=segv@rank=3,step=7,phase=gather",
                   "fault.inject=bitflip@rank=2,step=9,phase=backward"});
  expect_done(job_->train(4, "muon", settings));
  EXPECT_EQ(job_->events("muon", "restart").size(), 3U);
  EXPECT_EQ(job_->digest("muon"), job_->digest("muon_alone"));
}

TEST_F(Recovery, SignalsEndItWithACheckpointAndTheSameCommandGoesOn) {
  const std::vector<std::string> settings = {"fault.inject=stop@rank=0,step=3", "fault.hang_timeout_seconds=8"};
  BackgroundProgram program(job_->training_command(2, "signals", settings), job_->options());
  ASSERT_TRUE(program.wait_for_output("training ")) << program.stderr_so_far();
  program.send_signal(SIGUSR1);  // before the first step; then a worker hangs
  const ProgramResult stopped = job_->finish(program);
  ASSERT_EQ(stopped.exit_code, kStopped) << stopped.all_output();
  expect_done(job_->train(2, "signals", settings));
  expect_same_as_reference("signals");
}

// Workers that live for less than checkpoint.interval_seconds, each for some steps.
TEST_F(Recovery, TheTimeOfTheNextCheckpointComesHoweverShortWorkersLive) {
  BackgroundProgram program(job_->training_command(2, "timed",
                                                   {"checkpoint.interval_seconds=3", "checkpoint.interval_steps=0",
                                                    "train.steps=1000000", "log.validation_interval_steps=0",
                                                    "fault.no_progress_limit=1000", "fault.max_restarts=1000"}),
                            job_->options());
  while (program.running() && job_->events("timed", "checkpoint").empty()) {
    const std::uintmax_t steps = logged_bytes("timed");
    while (program.running() && logged_bytes("timed") < steps + 1000) ::usleep(50'000);  // some lines
    ::usleep(300'000);
    for (const pid_t pid : program.processes()) {
      if (command_line(pid).find("kangpt_worker ") != std::string::npos) ::kill(pid, SIGKILL);
    }
  }
  // On a busy machine the checkpoint may be there before the first workers are killed, and the next ones long after.
  while (program.running() && job_->events("timed", "restart").empty()) ::usleep(50'000);
  EXPECT_TRUE(program.running()) << program.stderr_so_far();
  program.send_signal(SIGUSR1);
  EXPECT_EQ(job_->finish(program).exit_code, kStopped);
  const std::size_t checkpoints = job_->events("timed", "checkpoint").size();
  EXPECT_LE(checkpoints, 4U) << "each request makes one, not one a step";
}

// mpirun itself then returns 1, whatever its processes return.
TEST_F(Recovery, TerminatedMpirunAndTheSameCommandAgain) {
  BackgroundProgram program(job_->training_command(2, "terminated"), job_->options());
  ASSERT_TRUE(program.wait_for_output("step 1/")) << program.stderr_so_far();
  program.send_signal(SIGTERM);
  job_->finish(program);
  expect_done(job_->train(2, "terminated"));
  expect_same_as_reference("terminated");
}

TEST_F(Recovery, KilledMpirunAndTheSameCommandAgain) {
  const std::vector<std::string> settings = {"fault.inject=stop@rank=1,step=6", "fault.hang_timeout_seconds=60"};
  BackgroundProgram program(job_->training_command(2, "killed", settings), job_->options());
  ASSERT_TRUE(program.wait_for_output("validation loss")) << program.stderr_so_far();  // of step 5
  program.send_signal(SIGKILL);
  EXPECT_EQ(job_->finish(program).signal, SIGKILL);
  expect_done(job_->train(2, "killed", settings));
  expect_same_as_reference("killed");
}

TEST_F(Recovery, SameFailureAgainAndAgainEndsTheRun) {
  std::vector<std::string> settings = {"fault.no_progress_limit=2"};
  for (int i = 0; i < 4; ++i) settings.push_back("fault.inject=abort@rank=1,step=3,phase=update");
  ProgramResult result = job_->train(2, "hopeless", settings);
  EXPECT_EQ(result.exit_code, 93) << result.all_output();
  EXPECT_THAT(result.all_output(), HasSubstr("step 3 failed again; batch 2: samples "));
  EXPECT_THAT(result.all_output(), HasSubstr("no_progress_limit"));
}

// What is in memory goes to disk before the job ends: the data are away when the worker that died is to be replaced.
TEST_F(Recovery, AnErrorOfTheNextWorkersLosesNoStep) {
  const std::vector<std::string> settings = {"fault.inject=stop@rank=1,step=7,phase=data",
                                             "fault.hang_timeout_seconds=60", "checkpoint.interval_steps=0"};
  const fs::path data = job_->path() / "data", away = job_->path() / "data-away";
  BackgroundProgram program(job_->training_command(2, "data-gone", settings), job_->options());
  wait_for_standstill(program, "data-gone");
  fs::rename(data, away);
  signal_rank(program, "kangpt_worker", 0, SIGKILL);
  const ProgramResult result = job_->finish(program);
  fs::rename(away, data);
  EXPECT_EQ(result.exit_code, 66) << result.all_output();
  EXPECT_THAT(result.all_output(), HasSubstr("saved what was in memory as the checkpoint of step 6"));
  EXPECT_TRUE(fs::exists(job_->run("data-gone") / "checkpoints/step-0000000006"));
  expect_done(job_->train(2, "data-gone", settings));
  expect_same_as_reference("data-gone");
}

// A signal to stop that meets a crash: the next workers might not get as far as a step.
TEST_F(Recovery, ASignalAndACrashEndItWithACheckpoint) {
  const std::vector<std::string> settings = {"fault.inject=stop@rank=1,step=7,phase=data",
                                             "fault.hang_timeout_seconds=60", "checkpoint.interval_steps=0"};
  BackgroundProgram program(job_->training_command(2, "signal-crash", settings), job_->options());
  wait_for_standstill(program, "signal-crash");
  program.send_signal(SIGUSR1);
  ::usleep(300'000);  // it is forwarded
  signal_rank(program, "kangpt_worker", 0, SIGKILL);
  const ProgramResult result = job_->finish(program);
  EXPECT_EQ(result.exit_code, kStopped) << result.all_output();
  EXPECT_TRUE(fs::exists(job_->run("signal-crash") / "checkpoints/step-0000000006"));
  expect_done(job_->train(2, "signal-crash", settings));
  expect_same_as_reference("signal-crash");
}

// Signals after which there is little time, in a step that would take minutes.
class StoppedInHaste : public Recovery {
 protected:
  static std::vector<std::string> settings(int step) {
    return {"fault.inject=stop@rank=0,step=" + std::to_string(step) + ",phase=data", "fault.hang_timeout_seconds=600",
            "checkpoint.interval_steps=0"};
  }

  static ProgramResult send(int signal, const std::string& run, const std::vector<std::string>& command) {
    BackgroundProgram program(command, job_->options());
    wait_for_standstill(program, run);
    program.send_signal(signal);
    return job_->finish(program);
  }

  static void expect_to_go_on_from(int step, const std::string& run, const std::vector<std::string>& same) {
    expect_done(job_->train(2, run, same));
    EXPECT_EQ(job_->events(run, "start").back().at("step"), step);
    EXPECT_EQ(job_->events(run, "start").back().at("steps_lost"), 0);
    expect_same_as_reference(run);
  }
};

// It kills the ranks a second later, whether or not they have come as far as to a checkpoint. What they say until then,
// the one of Open MPI 5 does not pass on.
TEST_F(StoppedInHaste, MpirunLosesTheStepInFlightAlone) {
  const std::vector<std::string> shell = {"bash", "-c", R"(exec "$0" "$@" 2>"said-by-$OMPI_COMM_WORLD_RANK")"};
  for (const int signal : {SIGINT, SIGTERM, SIGHUP}) {
    const std::string run = "haste-" + std::to_string(signal);
    std::vector<std::string> command = job_->training_command(2, run, settings(7));
    command.insert(std::ranges::find(command, program_path("kangpt_dist")), shell.begin(), shell.end());
    send(signal, run, command);
    EXPECT_THAT(read_text(job_->path() / "said-by-0"), HasSubstr("asked to stop at once: saving step 6"))
        << ::strsignal(signal);
    expect_to_go_on_from(6, run, settings(7));
  }
}

TEST_F(StoppedInHaste, ARankSavesWhatItHoldsAtOnce) {
  std::vector<std::string> command = job_->training_command(1, "haste-rank", settings(7));
  command.erase(command.begin(), std::ranges::find(command, program_path("kangpt_dist")));
  const ProgramResult result = send(SIGTERM, "haste-rank", command);
  EXPECT_EQ(result.exit_code, kStopped) << result.all_output();
  const fs::path checkpoint = job_->run("haste-rank") / "checkpoints/step-0000000006";
  EXPECT_TRUE(fs::exists(checkpoint));
  EXPECT_THAT(result.all_output(),
              HasSubstr("saved what was in memory as the checkpoint of step 6: " + checkpoint.string()));
  expect_to_go_on_from(6, "haste-rank", settings(7));
}

TEST_F(StoppedInHaste, BeforeTheFirstStepThereIsNothingToSave) {
  const std::string run = "haste-early";
  std::vector<std::string> command = job_->training_command(1, run, settings(1));
  command.erase(command.begin(), std::ranges::find(command, program_path("kangpt_dist")));
  const ProgramResult result = send(SIGINT, run, command);
  EXPECT_EQ(result.exit_code, kStopped) << result.all_output();
  EXPECT_THAT(result.all_output(), HasSubstr("stopped by a signal before there was a step to save"));
  expect_to_go_on_from(0, run, settings(1));
}

// Whoever kept it would have to start it again.
TEST_F(Recovery, KeptJobsGoOnByThemselves) {
  const std::string run = "kept";
  std::vector<std::string> command = {(source_directory() / "slurm/kangpt_keep").string(), "--"};
  const std::vector<std::string> training = job_->training_command(
      2, run,
      {"fault.inject=stop@rank=1,step=4", "fault.inject=stop@rank=0,step=7", "fault.inject=stop@rank=1,step=9",
       "fault.hang_timeout_seconds=60", "checkpoint.interval_steps=0"});
  command.insert(command.end(), training.begin(), training.end());
  BackgroundProgram program(command, job_->options());
  const auto kill_at_standstill = [&](std::size_t faults, const std::string& whom) {
    while (program.running() && job_->events(run, "fault_injected").size() < faults) ::usleep(2000);
    const std::vector<pid_t> all = program.processes();
    const auto found = std::ranges::find_if(all, [&](pid_t pid) {
      const std::string line = command_line(pid);
      return line.starts_with(whom) || (whom == "mpirun" && line.starts_with("prterun"));  // what Open MPI 5's becomes
    });
    if (found == all.end()) {
      ADD_FAILURE() << "no process of " << whom;
      return;
    }
    ::kill(*found, SIGKILL);
  };
  kill_at_standstill(1, program_path("kangpt_dist"));
  kill_at_standstill(2, "mpirun");
  kill_at_standstill(3, program_path("kangpt_worker"));
  const ProgramResult result = job_->finish(program);
  expect_done(result);
  ASSERT_EQ(job_->events(run, "start").size(), 3U) << result.all_output();
  for (const auto& start : job_->events(run, "start")) EXPECT_LE(start.at("steps_lost"), 1);
  expect_same_as_reference(run);
}

// Programs of their own, which can be replaced as a rebuild does, with a job that runs them.
class ReplacedPrograms : public Recovery {
 protected:
  void SetUp() override {
    fs::create_directories(programs_);
    for (const std::string name : {"kangpt_dist", "kangpt_worker"})
      fs::copy_file(program_path(name), programs_ / name, fs::copy_options::overwrite_existing);
  }
  void TearDown() override { fs::remove_all(programs_); }

  ProgramResult train_while(const std::string& run, const std::function<void(const fs::path& worker)>& harm) {
    std::vector<std::string> command = job_->training_command(
        2, run,
        {"fault.inject=stop@rank=1,step=7,phase=data", "fault.hang_timeout_seconds=60", "checkpoint.interval_steps=0"});
    *std::ranges::find(command, program_path("kangpt_dist")) = (programs_ / "kangpt_dist").string();
    BackgroundProgram program(command, job_->options());
    wait_for_standstill(program, run);
    harm(programs_ / "kangpt_worker");
    signal_rank(program, "kangpt_worker", 0, SIGKILL);
    return job_->finish(program);
  }

  static void put_in_place(const fs::path& worker) {
    const fs::path other = worker.string() + ".new";
    write_text(other, "#!/bin/sh\nexit 9\n");
    fs::permissions(other, fs::perms::owner_all);
    fs::rename(other, worker);
  }

  const fs::path programs_ = job_->path() / "programs";
};

TEST_F(ReplacedPrograms, AreNotNoticedByAJobThatRuns) {
  expect_done(train_while("deleted", [](const fs::path& worker) { fs::remove(worker); }));
  expect_same_as_reference("deleted");
  SetUp();
  expect_done(train_while("replaced", put_in_place));
  expect_same_as_reference("replaced");
}

TEST_F(ReplacedPrograms, WrittenInPlaceEndTheJobForANewStartWithoutLosingAStep) {
  const ProgramResult result = train_while("rewritten", [](const fs::path& worker) {
    fs::last_write_time(worker, fs::last_write_time(worker) + std::chrono::seconds(1));
  });
  EXPECT_EQ(result.exit_code, 76) << result.all_output();
  EXPECT_THAT(result.all_output(), HasSubstr("was changed while the job runs"));
  EXPECT_TRUE(fs::exists(job_->run("rewritten") / "checkpoints/step-0000000006"));
  expect_done(job_->train(2, "rewritten"));
  expect_same_as_reference("rewritten");
}

TEST_F(ReplacedPrograms, ThatNeverReachAStepAreForALaterStart) {
  put_in_place(programs_ / "kangpt_worker");
  std::vector<std::string> command = job_->training_command(2, "never");
  *std::ranges::find(command, program_path("kangpt_dist")) = (programs_ / "kangpt_dist").string();
  BackgroundProgram program(command, job_->options());
  const ProgramResult result = job_->finish(program);
  EXPECT_EQ(result.exit_code, 76) << result.all_output();
  EXPECT_THAT(result.all_output(), HasSubstr("no worker reached a step in 3 restarts"));
}

// A rank without mpirun: its terminal goes away, a batch system warns.
class SignalsToARank : public Recovery {
 protected:
  // The exit code of `first` (with words before it) after the signals, one after the other.
  static int exit_code_after(const std::vector<int>& signals, const std::string& run,
                             std::vector<std::string> words = {}) {
    const std::vector<std::string> command = job_->training_command(
        1, run, {"train.steps=1000000", "checkpoint.interval_steps=0", "log.validation_interval_steps=0"});
    words.insert(words.end(), std::ranges::find(command, program_path("kangpt_dist")), command.end());
    BackgroundProgram program(words, job_->options());
    EXPECT_TRUE(program.wait_for_output("step 1/")) << program.stderr_so_far();
    for (const int signal : signals) {
      program.send_signal(signal);
      ::usleep(500'000);
    }
    return job_->finish(program).exit_code;
  }
};

TEST_F(SignalsToARank, EndItWithACheckpoint) {
  for (const int signal : {SIGHUP, SIGINT, SIGTERM, SIGUSR1, SIGUSR2}) {
    const std::string run = "rank-" + std::to_string(signal);
    EXPECT_EQ(exit_code_after({signal}, run), kStopped) << ::strsignal(signal);
    EXPECT_NE(job_->digest(run), "") << ::strsignal(signal);
  }
}

TEST_F(SignalsToARank, HangupIsIgnoredUnderNohup) {
  EXPECT_EQ(exit_code_after({SIGHUP, SIGUSR1}, "nohup", {"nohup"}), kStopped);
  EXPECT_EQ(job_->events("nohup", "start").size(), 1U);
}

}  // namespace
}  // namespace kangpt::test
