// First values of all parameters, read from a file.
#pragma once

#include <filesystem>
#include <span>

#include "base/parameter_table.hpp"

namespace kangpt::model {

// Throws what load_weights() would, from the names and shapes alone. Says in the log where names had to be shortened.
void check_weights(const std::filesystem::path& path, const base::ParameterTable& table);

// Fills `flat` from a .safetensors file that holds exactly the tensors of `table`, in fp32, fp16, bf16 or fp64. Their
// names may all begin alike ("model.") and have parts that PyTorch's wrappers add ("_orig_mod.", "module."). Throws
// MissingInputError, DataError (a damaged file, or values that are not finite), ConfigError that lists every missing,
// superfluous and misshapen tensor.
void load_weights(const std::filesystem::path& path, const base::ParameterTable& table, std::span<float> flat);

}  // namespace kangpt::model
