// Checkpoints on disk: folders step-0000001000/ with ranges of the flat state and a manifest.
//
//   state-00-of-02.h5   one contiguous range of the flat buffer: /parameters /first_moment /second_moment (f32)
//                       and, where one is kept, /average of the parameters,
//                       attributes begin, end (elements of the flat buffer), step
//   manifest.textproto  version, step, training state, configuration, parameter table, each file's size and XXH3 and
//   SHA-256,
//                       and the digest of the manifest itself; written last
// A folder that is being written is called step-*.tmp, one that is being deleted step-*.tmp-delete; neither is read.
// The grammar: FORMATS.md. Nothing here knows MPI or LibTorch. HDF5 is not thread-safe: in one process, write_range()
// and anything that verifies a checkpoint must not run at the same time.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/fields.hpp"
#include "base/parameter_table.hpp"
#include "io/training_state.hpp"

namespace kangpt::io {

namespace fs = std::filesystem;

// Elements [begin, end) of the flat state. The arrays have end - begin elements each.
struct FlatRange {
  std::uint64_t begin = 0;
  std::span<const float> parameters;
  std::span<const float> first_moment;
  std::span<const float> second_moment;
  std::span<const float> average = {};  // of the parameters; empty: none is kept
};

// Size and digests of a written file. A report from another process is checked against the file by nobody but the
// reader of the checkpoint.
struct FileDigest {
  std::string name;  // "state-00-of-02.h5", without a folder
  std::uint64_t size_bytes = 0;
  std::uint64_t begin = 0;
  std::uint64_t end = 0;
  std::uint64_t xxh3 = 0;
  std::string sha256;

  KANGPT_FIELDS(name, size_bytes, begin, end, xxh3, sha256)
};

struct CheckpointManifest {
  TrainingState state;
  std::uint64_t flat_size = 0;  // elements covered by the files: [0, flat_size), padding included
  std::string configuration;    // resolved, protobuf text format
  std::string program_version;
  base::ParameterTable parameters;
  std::vector<FileDigest> files;  // in the order of their ranges, without gap or overlap

  KANGPT_FIELDS(state, flat_size, program_version, files)
};

// --- Writing. Every rank calls write_range(), then rank 0 calls commit_checkpoint(). ---

// "step-0000001000"
std::string checkpoint_name(std::uint64_t step);

// Makes CHECKPOINTS/step-N.tmp empty and removes what unfinished writes and deletions left. Rank 0 calls it before the
// others write. REQUIRES: no other job writes there (the lock of the run directory).
fs::path begin_checkpoint(const fs::path& checkpoints, std::uint64_t step);
// Which of all ranks writes a file.
struct RangeWriter {
  int rank = 0;
  int world_size = 1;
};
// Writes and fsyncs state-RR-of-NN.h5 in `folder`. Throws IoError; the partial file is removed.
FileDigest write_range(const fs::path& folder, RangeWriter writer, std::uint64_t step, const FlatRange& range);
// Writes the manifest, fsyncs all, renames step-N.tmp to step-N, fsyncs the parent. An older step-N is replaced. Throws
// IoError; CheckpointError if a file is missing or of another size than its report says.
void commit_checkpoint(const fs::path& folder, const CheckpointManifest& manifest);
// After a failed write: deletes step-N.tmp, so that a full disk gets its space back. Never throws; logs what stays.
void abandon_checkpoint(const fs::path& folder) noexcept;
// Which checkpoints stay.
struct KeptCheckpoints {
  int last = 1;             // the newest ones
  std::uint64_t every = 0;  // multiples of it; 0: none
  std::uint64_t step = 0;   // this one; 0: none
  bool keeps_best = false;  // the one at the newest one's best_step
};
// Deletes all others, after the newest one was verified; nothing if it is bad. Each is renamed first, so that a half
// deleted one is not taken for a checkpoint. Logs what can't be deleted.
void prune_checkpoints(const fs::path& checkpoints, const KeptCheckpoints& kept);

// --- Reading ---

// Names of complete checkpoint folders (step-N with a manifest), newest first. A missing folder has none.
std::vector<fs::path> list_checkpoints(const fs::path& checkpoints);

// The weights as training left them, or their average.
enum class Weights { kTrained, kAverage };

// A checkpoint on disk. A file's digests are verified before anything in it is used: with kEverything when the object
// is made, with kManifest when read() first touches it (the sizes of all files are compared at once). Copies share the
// open files, which stay readable when the checkpoint is deleted. For one thread at a time. All members throw
// CheckpointError (names the file and what is wrong with it) or IoError, the constructor MissingInputError where there
// is no such folder.
class Checkpoint {
 public:
  enum class Verify { kManifest, kEverything };
  explicit Checkpoint(const fs::path& folder, Verify verify = Verify::kEverything);

  const fs::path& folder() const noexcept { return folder_; }
  const CheckpointManifest& manifest() const noexcept { return manifest_; }
  bool has_average() const noexcept { return manifest_.state.averaged_weights > 0; }
  // Copies elements [begin, begin + n) of each array, whichever files hold them. Elements past flat_size become 0.
  // REQUIRES: each span has n elements or none (then that array is not read).
  void read(std::uint64_t begin, std::span<float> parameters, std::span<float> first_moment,
            std::span<float> second_moment) const;
  // The same of the average of the parameters. Throws UsageError where there is none.
  void read_average(std::uint64_t begin, std::span<float> values) const;
  // Either, from the beginning.
  void read_weights(Weights which, std::span<float> values) const;

 private:
  struct Files;
  void read_array(std::size_t array, std::uint64_t begin, std::span<float> values) const;

  fs::path folder_;
  CheckpointManifest manifest_;
  std::shared_ptr<Files> files_;
};

// The newest checkpoint of a step below `below_step` that verifies. A bad one is moved to CHECKPOINTS/quarantine/; one
// that can't be read stays where it is. Both are reported through `report` ("CHECKPOINT: why; moved to ..."). nullopt
// if there is none at all; throws CheckpointError if all were bad, now or earlier (quarantine/ has some and nothing
// else is left), IoError if none is known to be good and some could not be read.
inline constexpr std::uint64_t kNoLimit = UINT64_MAX;
std::optional<Checkpoint> newest_valid_checkpoint(const fs::path& checkpoints,
                                                  const std::function<void(const std::string&)>& report,
                                                  std::uint64_t below_step = kNoLimit);

// PATH given by a user: a checkpoint folder, or a run directory (its newest valid checkpoint; nothing is moved).
// Throws MissingInputError with what was looked for.
Checkpoint open_checkpoint(const fs::path& path);

// SHA-256 over the entries in table order, of each entry its parameters, its first and its second moments and, where
// there is one, its average: fp32 little-endian, row-major, no gaps. Does not depend on world size, padding or file
// layout.
std::string canonical_digest(const Checkpoint& checkpoint);

}  // namespace kangpt::io
