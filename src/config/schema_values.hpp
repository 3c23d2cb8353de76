// Between the schema's messages (protobuf) and the plain structures that everything else uses.
#pragma once

#include "config/run_config.hpp"
#include "configs/run_config.pb.h"

namespace kangpt::config {

// Fields that are not set take the schema's default; model.dilation without a value becomes 1.
RunConfig to_values(const proto::RunConfig& message);

// Every field set, so that defaults are printed too.
proto::RunConfig to_message(const RunConfig& config);

}  // namespace kangpt::config
