#include "launcher/agent_link.hpp"

#include <time.h>

#include <nlohmann/json.hpp>

namespace kangpt::launcher {

using nlohmann::json;

namespace {

std::string to_text(const json& value) {
  return value.dump(-1, ' ', false, json::error_handler_t::replace);
}

}  // namespace

void AgentLink::enter(training::Phase phase, std::uint64_t step) {
  timespec now{};
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  page_.step = step;
  page_.phase = static_cast<std::uint32_t>(phase);
  page_.monotonic_nanoseconds = now.tv_sec * 1'000'000'000L + now.tv_nsec;
  faults_.enter(phase, step);
}

void AgentLink::report(const training::StepReport& r) {
  agent_.send(sharding::MessageKind::kReport, 0,
              to_text({{"kind", "step"},
                       {"step", r.step},
                       {"loss", r.loss},
                       {"learning_rate", r.learning_rate},
                       {"gradient_norm", r.gradient_norm},
                       {"tokens", r.tokens},
                       {"step_tokens", r.step_tokens},
                       {"skipped", r.skipped},
                       {"step_seconds", r.step_seconds},
                       {"data_seconds", r.data_seconds},
                       {"reduce_seconds", r.reduce_seconds},
                       {"snapshot_seconds", r.snapshot_seconds}}));
}

void AgentLink::report(const training::ValidationReport& r) {
  agent_.send(sharding::MessageKind::kReport, 0,
              to_text({{"kind", "validation"},
                       {"step", r.step},
                       {"validation_loss", r.loss},
                       {"tokens", r.tokens},
                       {"seconds", r.seconds}}));
}

void AgentLink::report_sample(std::uint64_t step, const std::string& text) {
  agent_.send(sharding::MessageKind::kReport, 0, to_text({{"kind", "sample"}, {"step", step}, {"text", text}}));
}

}  // namespace kangpt::launcher
