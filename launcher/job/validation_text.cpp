#include "launcher/job/validation_text.hpp"

#include <algorithm>
#include <numeric>
#include <optional>

#include "base/error.hpp"
#include "data_pipeline/batches/data_vocabulary.hpp"
#include "data_pipeline/batches/observed_batches.hpp"
#include "launcher/job/batch_options.hpp"

namespace kangpt::launcher {
namespace {

std::optional<data::Vocabulary> vocabulary_at_hand(const std::vector<data::OpenedSource>& sources) {
  try {
    return data::vocabulary_of(sources);
  } catch (const Error&) {  // only what is written about bits depends on it
  }
  return std::nullopt;
}

}  // namespace

double validation_bytes_per_token(const config::RunConfig& config, const std::vector<data::OpenedSource>& sources) {
  const data::BatchOptions options = batch_options(config, sources, 1, data::kValidationSplit);
  const data::DatasetFacts facts = data::dataset_facts(sources, options.split);
  const std::optional<data::Vocabulary> vocabulary = vocabulary_at_hand(sources);
  data::ObservedBatches batches(data::open_batches(options), vocabulary ? &*vocabulary : nullptr, [](std::uint64_t) {});
  if (!vocabulary) return facts.bytes_per_token;
  const std::uint64_t all = batches.batches_per_epoch();
  const std::uint64_t count = config.log.validation_batches == 0 ? all : std::min(all, config.log.validation_batches);
  double tokens = 0;
  for (std::uint64_t batch = 0; batch < count; ++batch) {
    const training::MicroBatch rows = batches.micro_batch(batch, 0);
    tokens = std::accumulate(rows.mask.begin(), rows.mask.end(), tokens);
  }
  return static_cast<double>(batches.text_bytes()) / std::max(tokens, 1.0);
}

}  // namespace kangpt::launcher
