// What a job shows to others: files, shared memory and sockets.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <csignal>
#include <fstream>
#include <set>
#include <sstream>

#include "tests/end_to_end/training_run.hpp"

namespace kangpt::test {
namespace {

using ::testing::IsEmpty;

constexpr std::size_t kListenersOfMpi = 2;  // of Open MPI's TCP component, for IPv4 and IPv6

std::vector<fs::path> readable_by_others(const fs::path& folder) {
  std::vector<fs::path> found;
  for (const auto& entry : fs::recursive_directory_iterator(folder)) {
    struct stat status {};
    if (::lstat(entry.path().c_str(), &status) == 0 && (status.st_mode & 077U) != 0) found.push_back(entry.path());
  }
  return found;
}

// Inodes of the sockets that a process has open.
std::set<std::string> sockets_of(pid_t pid) {
  std::set<std::string> inodes;
  std::error_code error;
  for (fs::directory_iterator entry("/proc/" + std::to_string(pid) + "/fd", error), end; !error && entry != end;
       entry.increment(error)) {
    const std::string target = fs::read_symlink(entry->path(), error).string();
    if (target.starts_with("socket:[")) inodes.insert(target.substr(8, target.size() - 9));
  }
  return inodes;
}

// Of /proc/net/tcp and tcp6: inodes of sockets that listen. The fourth field is the state, the tenth the inode.
std::set<std::string> listening_sockets() {
  std::set<std::string> inodes;
  for (const char* const table : {"/proc/net/tcp", "/proc/net/tcp6"}) {
    std::ifstream lines(table);
    for (std::string line; std::getline(lines, line);) {
      std::istringstream words(line);
      std::vector<std::string> fields{std::istream_iterator<std::string>(words), {}};
      if (fields.size() > 9 && fields[3] == "0A") inodes.insert(fields[9]);
    }
  }
  return inodes;
}

std::size_t listeners_of(pid_t pid, const std::set<std::string>& listening) {
  std::size_t count = 0;
  for (const std::string& inode : sockets_of(pid)) count += listening.count(inode);
  return count;
}

// Other jobs, and kangpt_chaos, may have theirs beside this one.
std::set<std::string> named_shared_memory() {
  std::set<std::string> names;
  for (const auto& entry : fs::directory_iterator("/dev/shm")) {
    const std::string name = entry.path().filename();
    if (name.starts_with("kangpt") && !entry.is_directory()) names.insert(name);
  }
  return names;
}

class Permissions : public ::testing::Test {
 protected:
  // A job whose first worker stands still in its sixth step.
  BackgroundProgram standing_job() const {
    return BackgroundProgram(
        job_.training_command(2, "run", {"fault.inject=stop@rank=0,step=6", "fault.hang_timeout_seconds=100"}),
        job_.options());
  }
  void await(BackgroundProgram& program, const std::string& event) const {
    while (program.running() && job_.events("run", event).empty()) ::usleep(10'000);
  }
  const Workspace job_{Corpus::kTokens};
};

TEST_F(Permissions, FilesFollowTheUmaskAndSharedMemoryIsTheUsersAlone) {
  const std::set<std::string> of_others = named_shared_memory();
  const mode_t before = ::umask(077);
  BackgroundProgram program = standing_job();
  await(program, "checkpoint");  // of step 4: agents write it in the background
  ::umask(before);
  EXPECT_TRUE(fs::exists(job_.run("run") / "checkpoints/step-0000000004/manifest.textproto"));
  EXPECT_THAT(readable_by_others(job_.run("run")), IsEmpty());
  for (const std::string& name : named_shared_memory())
    EXPECT_TRUE(of_others.contains(name)) << "shared memory with a name can be opened by others: " << name;
  program.send_signal(SIGKILL);
  job_.finish(program);
}

// Workers talk to their agents alone, through a socket without a name; agents listen where plain MPI programs do.
TEST_F(Permissions, WorkersListenNowhereAndAgentsWhereMpiDoes) {
  BackgroundProgram program = standing_job();
  await(program, "fault_injected");
  const std::set<std::string> listening = listening_sockets();
  std::size_t workers = 0;
  for (const pid_t pid : program.processes()) {
    const std::string line = command_line(pid);
    const std::string name = line.substr(0, line.find(' '));
    const bool is_worker = name.ends_with("/kangpt_worker");
    const bool is_agent = name.ends_with("/kangpt_dist");
    workers += is_worker ? 1 : 0;
    if (is_worker) {
      EXPECT_EQ(listeners_of(pid, listening), 0U) << line;
    }
    if (is_agent) {
      EXPECT_LE(listeners_of(pid, listening), kListenersOfMpi) << line;
    }
  }
  EXPECT_EQ(workers, 2U);
  program.send_signal(SIGKILL);
  job_.finish(program);
}

}  // namespace
}  // namespace kangpt::test
