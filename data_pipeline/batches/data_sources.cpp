#include "data_pipeline/batches/data_sources.hpp"

#include <algorithm>
#include <bit>
#include <cmath>

#include "base/digest.hpp"
#include "base/error.hpp"
#include "base/format.hpp"
#include "data_pipeline/shards/dataset.hpp"

namespace kangpt::data {

OpenedSource::OpenedSource(DataSource source)
    : DataSource(std::move(source)), manifest(open_manifest(this->directory)) {}

bool OpenedSource::holds_out() const noexcept {
  const SplitRecord* const training = manifest.find_split(kTrainSplit);
  return holdout > 0 && training != nullptr && training->stories > 1 &&
         manifest.find_split(kValidationSplit) == nullptr;
}

bool OpenedSource::has(const std::string& split) const noexcept {
  return manifest.find_split(split) != nullptr || (split == kValidationSplit && holds_out());
}

StorySlice OpenedSource::stories_of(const std::string& split) const {
  if (!holds_out() || (split != kTrainSplit && split != kValidationSplit))
    return {split, 0, require_split(manifest, directory, split).stories};
  const std::uint64_t stories = require_split(manifest, directory, kTrainSplit).stories;
  const auto wanted = static_cast<std::uint64_t>(std::ceil(holdout * static_cast<double>(stories)));
  const std::uint64_t first = stories - std::clamp<std::uint64_t>(wanted, 1, stories - 1);
  return split == kTrainSplit ? StorySlice{kTrainSplit, 0, first} : StorySlice{kTrainSplit, first, stories};
}

std::vector<OpenedSource> open_sources(const std::vector<DataSource>& sources) {
  if (sources.empty()) throw ConfigError("no data directory is named; set data.directory or data.source");
  for (const DataSource& source : sources) {
    if (source.weight > 0 && source.weight <= 1e9) continue;
    throw ConfigError("the weight " + std::to_string(source.weight) + " of data source " + source.directory.string() +
                      " is not a positive number");
  }
  return {sources.begin(), sources.end()};
}

std::string directories(const std::vector<OpenedSource>& sources) {
  std::vector<std::string> names;
  for (const DataSource& source : sources) names.push_back(source.directory.string());
  return base::join(names, ", ");
}

bool have_split(const std::vector<OpenedSource>& sources, const std::string& split) {
  return std::ranges::all_of(sources, [&](const OpenedSource& source) { return source.has(split); });
}

DatasetFacts dataset_facts(const OpenedSource& source, const std::string& split) {
  const StorySlice slice = source.stories_of(split);
  const SplitRecord& record = require_split(source.manifest, source.directory, slice.split);
  DatasetFacts facts{fingerprint(source.manifest, record),
                     source.manifest.vocabulary_size,
                     source.manifest.vocabulary_sha256,
                     record.stories,
                     record.tokens,
                     record.text_bytes,
                     record.bytes_per_token()};
  if (slice.size() == record.stories) return facts;
  // Part of a split: its text was not counted by itself.
  const std::string identity = to_hexadecimal(facts.fingerprint) + " stories " + std::to_string(slice.first) + " to " +
                               std::to_string(slice.end);
  facts.fingerprint = std::max<std::uint64_t>(base::xxh3(std::as_bytes(std::span(identity))), 1);
  facts.stories = slice.size();
  facts.tokens = TokenStore(source.manifest, source.directory, slice).tokens();
  facts.text_bytes = static_cast<std::uint64_t>(static_cast<double>(facts.tokens) * facts.bytes_per_token);
  return facts;
}

DatasetFacts dataset_facts(const fs::path& directory, const std::string& split) {
  return dataset_facts(OpenedSource({directory}), split);
}

DatasetFacts dataset_facts(const std::vector<OpenedSource>& sources, const std::string& split) {
  DatasetFacts sum = dataset_facts(sources.at(0), split);
  if (sources.size() == 1) return sum;
  std::string identity;
  for (const OpenedSource& source : sources) {
    const DatasetFacts facts = dataset_facts(source, split);
    if (facts.vocabulary_sha256 != sum.vocabulary_sha256) {
      throw ConfigError(source.directory.string() + " was made with another vocabulary than " +
                        sources.front().directory.string() + "; they can't be blended");
    }
    identity += to_hexadecimal(facts.fingerprint) + to_hexadecimal(std::bit_cast<std::uint64_t>(source.weight));
    if (&source == &sources.front()) continue;
    sum.stories += facts.stories;
    sum.tokens += facts.tokens;
    sum.text_bytes += facts.text_bytes;
  }
  sum.fingerprint = std::max<std::uint64_t>(base::xxh3(std::as_bytes(std::span(identity))), 1);
  sum.bytes_per_token = static_cast<double>(sum.text_bytes) / static_cast<double>(sum.tokens);
  return sum;
}

}  // namespace kangpt::data
