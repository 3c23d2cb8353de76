#include "launcher/worker_program.hpp"

#include <fcntl.h>

#include <CLI/CLI.hpp>

#include "base/error.hpp"
#include "base/log.hpp"
#include "base/version.hpp"
#include "config/configuration.hpp"
#include "launcher/agent/crash_report.hpp"
#include "launcher/command_line.hpp"
#include "launcher/worker/last_words.hpp"

namespace kangpt::launcher {
namespace {

void work(sharding::MessageSocket& agent, base::SharedMemory& memory, const TakeGpu& take_gpu) {
  const std::optional<sharding::Message> start = agent.receive();
  if (!start || start->kind != sharding::MessageKind::kStart)
    throw CommunicationError("the agent sent no start message");
  const auto order = sharding::from_payload<sharding::StartOrder>(start->payload);
  base::start_log("kangpt_worker[rank " + std::to_string(order.rank) + "]");
  const config::Configuration configuration = config::parse_configuration(start->payload.substr(sizeof order));
  run_training_job({agent, memory, take_gpu}, order, configuration.values);
}

}  // namespace

int worker_program(int argc, char** argv, const TakeGpu& take_gpu) {
  CLI::App app("Computes for kangpt_dist, which starts it; not for use by hand.");
  app.set_version_flag("--version", base::version_text("kangpt_worker"));
  int socket = -1;
  int memory_fd = -1;
  app.add_option("--agent-socket", socket)->required();
  app.add_option("--shared-memory", memory_fd)->required();
  if (!parse_arguments(app, argc, argv)) return static_cast<int>(ExitCode::kDone);
  for (const int fd : {socket, memory_fd}) {
    if (::fcntl(fd, F_GETFD) < 0) throw UsageError("kangpt_worker is started by kangpt_dist, not by hand");
  }
  sharding::MessageSocket agent{base::UniqueFd(socket)};
  report_crashes();
  base::SharedMemory memory = base::SharedMemory::attach(base::UniqueFd(memory_fd));
  const bool done = tell_failure(agent, [&] { work(agent, memory, take_gpu); });
  return static_cast<int>(done ? ExitCode::kDone : ExitCode::kInternal);
}

}  // namespace kangpt::launcher
