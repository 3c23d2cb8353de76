// How the agents of an MpiGroup wait for each other, and for work that takes long: with signs of life.
//
// mpirun ends a job of which a process has died, but MPI waits for ever for one that is stopped, or whose node hangs.
// So nobody here blocks in MPI: who waits attends, and one that does not attend is missed. The price is that whoever
// does something long, such as opening a checkpoint on a slow disk, has to attend meanwhile as well: see
// attend_while().
#include <unistd.h>

#include <chrono>
#include <future>

#include "base/error.hpp"
#include "base/format.hpp"
#include "base/log.hpp"
#include "sharding/mpi/mpi_group.hpp"

namespace kangpt::sharding {
namespace {

constexpr useconds_t kPollMicroseconds = 200;
constexpr std::chrono::milliseconds kWorkPoll{2};
constexpr int kSignTopic = 0;
constexpr int kFarewellTopic = 100;

}  // namespace

void MpiGroup::attend() {
  const LifeSigns::Clock::time_point now = LifeSigns::Clock::now();
  if (size() == 1 || !signs_.due(now)) return;
  if (!leaving_) post((rank() + 1) % size(), kSignTopic, "");
  bool heard = false;
  while (receive(kSignTopic)) heard = true;
  const std::optional<double> silence = signs_.listen(heard, now);
  if (!silence) return;
  base::log_error("no answer from the kangpt_dist of rank " + std::to_string((rank() + size() - 1) % size()) + " for " +
                  base::format_duration(*silence) +
                  ": it is stopped, or its node is gone; ending, the next start goes on from what its nodes hold in "
                  "memory, or from the last checkpoint");
  abort(static_cast<int>(ExitCode::kGaveUp));
}

void MpiGroup::attend_while(const std::function<void()>& work) {
  std::future<void> working = std::async(std::launch::async, work);
  while (working.wait_for(kWorkPoll) != std::future_status::ready) attend();
  working.get();
}

// Sleeps between polls: a core is for the workers.
void MpiGroup::wait_for(const std::function<bool()>& done) {
  while (!done()) {
    attend();
    ::usleep(kPollMicroseconds);
  }
}

// MPI may only be finalised once every message has arrived, and signs may not end while somebody still listens. So each
// agent ends its own with a last word, and leaves once it has that of the one before, behind which nothing comes.
void MpiGroup::say_farewell() {
  all_gather("");  // until then, somebody may still wait for this one
  leaving_ = true;
  post((rank() + 1) % size(), kFarewellTopic, "");
  bool heard = false;
  wait_for([&] {
    heard = heard || receive(kFarewellTopic).has_value();
    return heard && all_delivered();
  });
  while (receive(kSignTopic)) {
  }
}

}  // namespace kangpt::sharding
