// How ranks agree before training begins: all go on, or all end with the same exit code.
#pragma once

#include <functional>
#include <string>

#include "base/error.hpp"
#include "sharding/mpi/mpi_group.hpp"

namespace kangpt::launcher {

// Ends this rank because of an error that rank 0, or the rank that has it, has said.
struct EndedElsewhere {
  ExitCode code;
};

// Of this machine.
std::string host_name();

// The exit code of an error that `body` throws, after saying it; kDone if it throws none. It may take long, here and
// below: the others see meanwhile that this rank lives. REQUIRES: it does not use `group`.
ExitCode guarded(sharding::MpiGroup& group, const std::function<void()>& body);

// The exit code of what each rank did on its own, the same on every rank: kDone if all could, a code if none could, and
// kGaveUp if only some could, since a start on other machines may do better; rank 0 says which. Collective.
ExitCode common_code(sharding::MpiGroup& group, ExitCode mine);

// Throws EndedElsewhere on every rank unless the common_code() is kDone. Collective.
void require_of_all(sharding::MpiGroup& group, const std::function<void()>& body);

// The text that `body` returns on rank 0, on every rank. If it throws, all ranks throw EndedElsewhere. Collective.
std::string from_rank_zero(sharding::MpiGroup& group, const std::function<std::string()>& body);

// Rank 0 does `body` for all. If it throws, all ranks throw EndedElsewhere: with kGaveUp if it could not read what
// others can, who then do it too without a word. Collective.
void read_on_rank_zero(sharding::MpiGroup& group, const std::function<void()>& body);

// May another machine fare better? True for what can't be read or is wrong.
constexpr bool is_of_input(ExitCode code) {
  return code == ExitCode::kData || code == ExitCode::kInputMissing || code == ExitCode::kIo;
}

}  // namespace kangpt::launcher
