// What an earlier run left in a run directory, out of the way of one that begins there from nothing.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace kangpt::launcher {

// Renames what was measured and can't be measured again: metrics.jsonl to metrics-before-1.jsonl, likewise
// summary.json, samples/, tensorboard/, trace.json, config.textproto, report.html, crash-rank-N.txt, and checkpoints/
// where `checkpoints` says so; all with one number, the first that is free. Returns the new names; none where nothing
// was measured. events.jsonl goes on. Throws IoError.
enum class EarlierCheckpoints { kLeave, kSetAside };
std::vector<std::string> set_aside_earlier_run(const std::filesystem::path& run_directory,
                                               EarlierCheckpoints checkpoints);

}  // namespace kangpt::launcher
