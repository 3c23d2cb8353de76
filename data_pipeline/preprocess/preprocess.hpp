// Text files to a data directory: what kangpt_preprocess does.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "data_pipeline/shards/manifest.hpp"

namespace kangpt::data {

enum class Existing { kKeep, kReplace };

struct PreprocessRequest {
  std::vector<std::string> inputs;      // train split; "-" is standard input
  std::vector<std::string> validation;  // validation split; may be empty
  fs::path output;
  int workers = 0;  // 0: one a core
  PreprocessOptions options;
  Existing existing = Existing::kKeep;  // what to do with other data in `output`
};

// Makes the data directory; the bytes written do not depend on `workers`. The manifest comes last, so that whatever
// goes wrong leaves no directory that looks complete. Does nothing if the directory holds just this already. A source
// that changes meanwhile, or between an interrupted run and the next, is refused where its old text was encoded. Prints
// a report on standard output, progress and warnings on standard error. Throws MissingInputError, DataError, IoError,
// UsageError.
Manifest preprocess(const PreprocessRequest& request);

}  // namespace kangpt::data
