// The data directory that kangpt_preprocess writes: locked, inspected, cleared.
#pragma once

#include <filesystem>
#include <optional>

#include "base/unique_fd.hpp"
#include "data_pipeline/shards/manifest.hpp"

namespace kangpt::data {

// Makes the directory if it is missing and keeps other kangpt_preprocess programs out of it for as long as the object
// lives (file systems without locks aside). Move-only.
class OutputDirectory {
 public:
  // Throws IoError, also where another program writes there.
  explicit OutputDirectory(const fs::path& path);

  const fs::path& path() const noexcept { return path_; }

  // The manifest of a finished directory. Throws DataError if it is damaged.
  std::optional<Manifest> complete() const;
  // What an interrupted run left, if all shards it names are intact.
  std::optional<Manifest> unfinished() const;

  void write_partial(const Manifest& manifest) const;
  // Writes the manifest: from here on the directory is complete.
  void write_complete(const Manifest& manifest) const;
  // Removes the files that kangpt_preprocess makes, but for the shards that `kept` names.
  void clear(const Manifest& kept) const;

 private:
  fs::path path_;
  base::UniqueFd lock_;
};

}  // namespace kangpt::data
