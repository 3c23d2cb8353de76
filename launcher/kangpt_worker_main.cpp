// kangpt_worker: computes. Started by kangpt_dist, never by hand.
#include <fcntl.h>

#include <CLI/CLI.hpp>

#include "base/error.hpp"
#include "base/log.hpp"
#include "base/version.hpp"
#include "config/configuration.hpp"
#include "launcher/agent/crash_report.hpp"
#include "launcher/command_line.hpp"
#include "launcher/worker/training_job.hpp"

namespace kangpt {
namespace {

int work(sharding::MessageSocket& agent, base::SharedMemory& memory) {
  const std::optional<sharding::Message> start = agent.receive();
  if (!start || start->kind != sharding::MessageKind::kStart)
    throw CommunicationError("the agent sent no start message");
  const auto order = sharding::from_payload<sharding::StartOrder>(start->payload);
  base::start_log("kangpt_worker[rank " + std::to_string(order.rank) + "]");
  const config::Configuration configuration = config::parse_configuration(start->payload.substr(sizeof order));
  const training::Outcome outcome = launcher::run_training_job(agent, memory, order, configuration.values);
  agent.send(sharding::MessageKind::kFinished, outcome == training::Outcome::kDone ? 0 : 1);
  return static_cast<int>(ExitCode::kDone);
}

int run(int argc, char** argv) {
  CLI::App app("Computes for kangpt_dist, which starts it; not for use by hand.");
  app.set_version_flag("--version", base::version_text("kangpt_worker"));
  int socket = -1;
  int memory_fd = -1;
  app.add_option("--agent-socket", socket)->required();
  app.add_option("--shared-memory", memory_fd)->required();
  if (!launcher::parse_arguments(app, argc, argv)) return static_cast<int>(ExitCode::kDone);
  for (const int fd : {socket, memory_fd}) {
    if (::fcntl(fd, F_GETFD) < 0) throw UsageError("kangpt_worker is started by kangpt_dist, not by hand");
  }
  sharding::MessageSocket agent{base::UniqueFd(socket)};
  launcher::report_crashes();
  base::SharedMemory memory = base::SharedMemory::attach(base::UniqueFd(memory_fd));
  try {
    return work(agent, memory);
  } catch (const training::BadBatch& error) {
    agent.send(sharding::MessageKind::kBadBatch, error.batch, error.what());
  } catch (const Error& error) {
    agent.send(sharding::MessageKind::kFailed, static_cast<std::uint64_t>(error.exit_code()), error.what());
  } catch (const std::exception& error) {
    agent.send(sharding::MessageKind::kFailed, static_cast<std::uint64_t>(ExitCode::kInternal), error.what());
  }
  return static_cast<int>(ExitCode::kInternal);
}

}  // namespace
}  // namespace kangpt

int main(int argc, char** argv) {
  return kangpt::run_program("kangpt_worker", kangpt::run, argc, argv);
}
