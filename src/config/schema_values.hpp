// Between the schema's messages (protobuf) and the plain structures that everything else uses.
#pragma once

#include <google/protobuf/message.h>

#include <memory>

#include "config/run_config.hpp"

namespace kangpt::config {

// Of a RunConfig of the schema. Fields that are not set take the schema's default; model.dilation without a value
// becomes 1, model.mixer ATTENTION.
RunConfig to_values(const google::protobuf::Message& message);

// Every field set, so that defaults are printed too.
std::unique_ptr<google::protobuf::Message> to_message(const RunConfig& config);

}  // namespace kangpt::config
