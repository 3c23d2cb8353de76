#include "config/schema_values.hpp"

#include "config/schema.hpp"
#include "message/message_fields.hpp"

namespace kangpt::config {

RunConfig to_values(const google::protobuf::Message& message) {
  RunConfig config;
  message::read_fields(message, config);
  if (config.model.dilation.empty()) config.model.dilation = {1};
  if (config.model.mixers.empty()) config.model.mixers = {Mixer::kAttention};
  config.model.sequence_length = config.data.sequence_length;
  config.model.precision = config.train.precision;
  config.model.recompute = config.train.recompute;
  return config;
}

std::unique_ptr<google::protobuf::Message> to_message(const RunConfig& config) {
  std::unique_ptr<google::protobuf::Message> message = new_configuration();
  message::write_fields(config, *message);
  return message;
}

}  // namespace kangpt::config
