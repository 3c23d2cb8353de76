// A folder that Hugging Face's transformers load: weights, configuration, code, model card.
#pragma once

#include <filesystem>

#include "data_pipeline/tokenizer/vocabulary.hpp"
#include "io/checkpoint.hpp"

namespace kangpt::tools {

// Writes into `folder`, which is made: model.safetensors, config.json (fields of this architecture), the two .py files
// of the network, generation_config.json (as kangpt_generate chooses tokens) and README.md, the model card; and
// tokenizer.json and tokenizer_config.json, unless the vocabulary is not known (nullptr). Throws IoError,
// CheckpointError; UsageError where there is no average.
void export_huggingface(const io::Checkpoint& checkpoint, io::Weights which, const data::Vocabulary* vocabulary,
                        const std::filesystem::path& folder);

}  // namespace kangpt::tools
