#include "data_pipeline/batches/data_vocabulary.hpp"

namespace kangpt::data {

std::optional<Vocabulary> vocabulary_of(const std::vector<OpenedSource>& sources) {
  const std::string& sha256 = sources.at(0).manifest.vocabulary_sha256;
  for (const OpenedSource& source : sources)
    if (std::optional<Vocabulary> found = kept_vocabulary(source.directory, sha256)) return found;
  return kept_vocabulary(gpt2_vocabulary().parent_path(), sha256);
}

}  // namespace kangpt::data
