#include "launcher/job/agreement.hpp"

#include <unistd.h>

#include <array>
#include <exception>
#include <filesystem>
#include <vector>

#include "base/format.hpp"
#include "base/log.hpp"

namespace kangpt::launcher {
namespace {

ExitCode tried(sharding::MpiGroup& group, const std::function<void()>& body, std::string& message) {
  try {
    group.attend_while(body);
    return ExitCode::kDone;
  } catch (const Error& error) {
    message = error.what();
    return error.exit_code();
  } catch (const std::filesystem::filesystem_error& error) {
    message = error.what();
    return ExitCode::kIo;
  } catch (const std::exception& error) {
    message = error.what();
    return ExitCode::kInternal;
  }
}

// Rank 0's, on every rank.
ExitCode code_of_rank_zero(sharding::MpiGroup& group, ExitCode mine) {
  return static_cast<ExitCode>(std::stoi(group.broadcast(std::to_string(static_cast<int>(mine)))));
}

}  // namespace

std::string host_name() {
  std::array<char, 256> host{};
  ::gethostname(host.data(), host.size() - 1);
  return host.data();
}

ExitCode guarded(sharding::MpiGroup& group, const std::function<void()>& body) {
  std::string message;
  const ExitCode code = tried(group, body, message);
  if (code != ExitCode::kDone) base::log_error(message);
  return code;
}

ExitCode common_code(sharding::MpiGroup& group, ExitCode mine) {
  const std::vector<std::string> answers = group.all_gather(std::to_string(static_cast<int>(mine)) + " " + host_name());
  ExitCode first = ExitCode::kDone;
  std::vector<std::string> failed;
  for (std::size_t rank = 0; rank < answers.size(); ++rank) {
    const auto code = static_cast<ExitCode>(std::stoi(answers[rank]));
    if (code == ExitCode::kDone) continue;
    if (failed.empty()) first = code;
    failed.push_back("rank " + std::to_string(rank) + " on " + answers[rank].substr(answers[rank].find(' ') + 1));
  }
  if (failed.empty() || failed.size() == answers.size()) return first;
  if (group.rank() == 0) {
    base::log_error("only " + base::join(failed, ", ") + " can't go on, for the reason said above; the others could (" +
                    std::to_string(static_cast<int>(ExitCode::kGaveUp)) + ": a start on other machines may help)");
  }
  return ExitCode::kGaveUp;
}

void require_of_all(sharding::MpiGroup& group, const std::function<void()>& body) {
  const ExitCode code = common_code(group, guarded(group, body));
  if (code != ExitCode::kDone) throw EndedElsewhere{code};
}

std::string from_rank_zero(sharding::MpiGroup& group, const std::function<std::string()>& body) {
  std::string text;
  const ExitCode mine = group.rank() == 0 ? guarded(group, [&] { text = body(); }) : ExitCode::kDone;
  const ExitCode code = code_of_rank_zero(group, mine);
  if (code != ExitCode::kDone) throw EndedElsewhere{code};
  return group.broadcast(text);
}

void read_on_rank_zero(sharding::MpiGroup& group, const std::function<void()>& body) {
  ExitCode mine = group.rank() == 0 ? guarded(group, body) : ExitCode::kDone;
  const ExitCode code = code_of_rank_zero(group, mine);
  if (code == ExitCode::kDone) return;
  if (!is_of_input(code)) throw EndedElsewhere{code};
  std::string unsaid;
  if (group.rank() != 0) mine = tried(group, body, unsaid);
  throw EndedElsewhere{common_code(group, mine)};
}

}  // namespace kangpt::launcher
