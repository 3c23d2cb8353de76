#include "launcher/job/setup_text.hpp"

#include <nlohmann/json.hpp>

#include "launcher/job/batch_options.hpp"
#include "sharding/agent_protocol.hpp"

namespace kangpt::launcher {

using nlohmann::json;
namespace fs = std::filesystem;

std::string to_text(const StartPoint& start) {
  return std::string(sharding::as_payload(start.state)) + start.checkpoint.filename().string();
}

StartPoint start_from_text(const std::string& text, const fs::path& run_directory) {
  StartPoint start{.checkpoint = {}, .state = sharding::from_payload<io::TrainingState>(text)};
  const std::string name = text.substr(sizeof start.state);
  if (!name.empty()) start.checkpoint = run_directory / kCheckpoints / name;
  return start;
}

// The state of a fresh start, a line of JSON with the lengths of what follows, the start point, the place of the
// initial weights, the configuration. Paths, which may hold any bytes, stand behind the JSON alone.
std::string to_text(const JobSetup& setup) {
  json changes = json::array();
  for (const config::FieldChange& change : setup.changes) changes.push_back({change.field, change.before, change.now});
  const std::string start = to_text(static_cast<const StartPoint&>(setup));
  const std::string weights = setup.initial_weights.string();
  const json head{{"start_bytes", start.size()},
                  {"initial_weights_bytes", weights.size()},
                  {"batches_per_epoch", setup.batches_per_epoch},
                  {"total_steps", setup.total_steps},
                  {"run_id", setup.run_id},
                  {"on_gpu", setup.device == config::Device::kCuda},
                  {"validation_bytes_per_token", setup.validation_bytes_per_token},
                  {"validation_data", setup.validation_data},
                  {"changes", changes}};
  return std::string(sharding::as_payload(setup.fresh_state)) +
         head.dump(-1, ' ', false, json::error_handler_t::replace) + "\n" + start + weights +
         config::to_text(setup.config);
}

JobSetup setup_from_text(const std::string& text) {
  JobSetup setup;
  setup.fresh_state = sharding::from_payload<io::TrainingState>(text);
  const std::size_t end = text.find('\n', sizeof setup.fresh_state);
  const json head = json::parse(text.substr(sizeof setup.fresh_state, end - sizeof setup.fresh_state));
  const std::size_t start = end + 1;
  const std::size_t weights = start + head.at("start_bytes").get<std::size_t>();
  const std::size_t configuration = weights + head.at("initial_weights_bytes").get<std::size_t>();
  setup.config = config::parse_configuration(text.substr(configuration)).values;
  setup.sources = open_data(setup.config.data);
  static_cast<StartPoint&>(setup) = start_from_text(text.substr(start, weights - start), setup.config.run.directory);
  setup.initial_weights = text.substr(weights, configuration - weights);
  setup.batches_per_epoch = head.at("batches_per_epoch");
  setup.total_steps = head.at("total_steps");
  setup.run_id = head.at("run_id");
  setup.device = head.at("on_gpu") ? config::Device::kCuda : config::Device::kCpu;
  setup.validation_bytes_per_token = head.at("validation_bytes_per_token");
  setup.validation_data = head.at("validation_data");
  for (const json& change : head.at("changes")) setup.changes.push_back({change.at(0), change.at(1), change.at(2)});
  return setup;
}

}  // namespace kangpt::launcher
