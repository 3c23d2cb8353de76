#include "config/schema_values.hpp"

#include "base/message_fields.hpp"
#include "config/schema.hpp"

namespace kangpt::config {

RunConfig to_values(const google::protobuf::Message& message) {
  RunConfig config;
  base::read_fields(message, config);
  if (config.model.dilation.empty()) config.model.dilation = {1};
  config.model.sequence_length = config.data.sequence_length;
  config.model.precision = config.train.precision;
  return config;
}

std::unique_ptr<google::protobuf::Message> to_message(const RunConfig& config) {
  std::unique_ptr<google::protobuf::Message> message = new_configuration();
  base::write_fields(config, *message);
  return message;
}

}  // namespace kangpt::config
