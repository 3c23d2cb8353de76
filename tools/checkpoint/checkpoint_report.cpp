#include "tools/checkpoint/checkpoint_report.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <span>

#include "base/error.hpp"
#include "base/format.hpp"
#include "config/configuration.hpp"

namespace kangpt::tools {
namespace {

namespace fs = std::filesystem;

template <typename... Args>
std::string print(const char* format, Args... args) {
  std::array<char, 512> buffer{};
  std::snprintf(buffer.data(), buffer.size(), format, args...);
  return buffer.data();
}

std::uint64_t total_bytes(const io::CheckpointManifest& manifest) {
  std::uint64_t total = 0;
  for (const io::FileDigest& file : manifest.files) total += file.size_bytes;
  return total;
}

std::string shape_text(const std::vector<std::int64_t>& shape) {
  std::vector<std::string> extents;
  for (const std::int64_t extent : shape) extents.push_back(std::to_string(extent));
  return "[" + base::join(extents, ", ") + "]";
}

// The arrays of one parameter.
struct Values {
  std::vector<float> parameters, first_moment, second_moment, average;  // the last: as many as there are

  Values(const io::Checkpoint& checkpoint, const base::ParameterEntry& entry)
      : parameters(entry.size),
        first_moment(entry.size),
        second_moment(entry.size),
        average(checkpoint.has_average() ? entry.size : 0) {
    checkpoint.read(entry.offset, parameters, first_moment, second_moment);
    if (checkpoint.has_average()) checkpoint.read_average(entry.offset, average);
  }
  std::array<const std::vector<float>*, 4> arrays() const {
    return {&parameters, &first_moment, &second_moment, &average};
  }
};

std::string statistics_line(const base::ParameterEntry& entry, const Values& values) {
  double sum = 0;
  double squares = 0;
  double largest = 0;
  for (const float value : values.parameters) {
    sum += value;
    squares += static_cast<double>(value) * value;
    if (!(std::fabs(value) <= largest)) largest = std::fabs(value);
  }
  const auto count = static_cast<double>(entry.size);
  const double mean = sum / count;
  const double deviation = std::sqrt(std::max(squares / count - mean * mean, 0.0));
  return print("  %-44s %-16s %13.6g %13.6g %13.6g\n", entry.name.c_str(), shape_text(entry.shape).c_str(), mean,
               deviation, largest);
}

std::string left_out_text(const io::LeftOutBatches& left_out) {
  if (left_out.count == 0) return "";
  std::string text = "left out batches    ";
  for (const std::uint64_t batch : std::span(left_out.newest).first(left_out.count))
    text += " " + std::to_string(batch);
  return text + "\n";
}

std::string average_text(const io::TrainingState& state) {
  return state.averaged_weights == 0 ? ""
                                     : "average of weights   of " + base::format_count(state.averaged_weights) + "\n";
}

std::string loss_text(const io::TrainingState& state) {
  if (state.step == 0) return "none yet";
  return print("%.6f (running mean %.6f, deviation %.6f)", state.last_loss, state.loss_mean,
               std::sqrt(std::max(state.loss_variance, 0.0)));
}

std::string state_text(const io::TrainingState& state) {
  return "step                 " + base::format_count(state.step) + " (" + base::format_count(state.updates) +
         " updates, " + base::format_count(state.skipped_steps) + " skipped)\n" +  //
         "batches              " + base::format_count(state.batches) + " of " + std::to_string(state.batch_size) +
         " sequences\n" +                                                     //
         left_out_text(state.left_out) +                                      //
         average_text(state) +                                                //
         "tokens               " + base::format_count(state.tokens) + "\n" +  //
         "last loss            " + loss_text(state) + "\n" +                  //
         "seed                 " + std::to_string(state.seed) + "\n" +        //
         print("dataset fingerprint  %016llx\n", static_cast<unsigned long long>(state.dataset_fingerprint)) +
         print("logical shards       %u\nthreads              %u\n", state.logical_shards, state.threads);
}

// The `model` section as it stands in the configuration; all of it where that can't be read by this program.
std::string model_section(const std::string& configuration) {
  const std::size_t begin = configuration.find("model {");
  const std::size_t end = configuration.find("\n}", begin);
  if (begin == std::string::npos || end == std::string::npos) return configuration;
  return configuration.substr(begin, end + 3 - begin);
}

// ---- Differences ----

struct ArrayDifference {
  bool same_bits = true;
  double largest = 0;   // max |a - b|; NaN where either is not a number
  double relative = 0;  // ||a - b|| / ||a||
};

ArrayDifference compare(const std::vector<float>& a, const std::vector<float>& b) {
  if (std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0) return {};
  ArrayDifference result{false, 0, 0};
  double norm = 0;
  double difference_norm = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    const double difference = static_cast<double>(a[i]) - b[i];
    if (!(std::fabs(difference) <= result.largest)) result.largest = std::fabs(difference);
    norm += static_cast<double>(a[i]) * a[i];
    difference_norm += difference * difference;
  }
  result.relative = norm > 0 ? std::sqrt(difference_norm / norm) : (difference_norm > 0 ? INFINITY : 0);
  return result;
}

// Why the two can't be compared value by value, "" if they can.
std::string table_difference(const base::ParameterTable& a, const base::ParameterTable& b) {
  std::string text;
  const auto missing = [&](const base::ParameterTable& from, const base::ParameterTable& in, const char* which) {
    for (const base::ParameterEntry& entry : from.entries) {
      const bool found = std::any_of(in.entries.begin(), in.entries.end(), [&](const base::ParameterEntry& other) {
        return other.name == entry.name && other.shape == entry.shape;
      });
      if (!found) text += "  only in " + std::string(which) + ": " + entry.name + " " + shape_text(entry.shape) + "\n";
    }
  };
  missing(a, b, "A");
  missing(b, a, "B");
  return text.empty() ? "" : "different models:\n" + text;
}

}  // namespace

std::vector<fs::path> checkpoints_at(const fs::path& given) {
  const fs::path path = given.has_filename() ? given : given.parent_path();  // "step-0000001000/"
  if (fs::exists(path / "manifest.textproto") || path.filename().string().starts_with("step-")) return {path};
  std::vector<fs::path> folders;
  const fs::path parent = fs::is_directory(path / "checkpoints") ? path / "checkpoints" : path;
  std::error_code error;
  for (const fs::directory_entry& entry : fs::directory_iterator(parent, error)) {
    const std::string name = entry.path().filename().string();
    if (name.starts_with("step-") && name.find('.') == std::string::npos) folders.push_back(entry.path());
  }
  if (folders.empty())
    throw MissingInputError("there is no checkpoint (step-*) in " + parent.string() + "; kangpt_dist makes some");
  std::sort(folders.rbegin(), folders.rend());
  return folders;
}

std::string list_text(const std::vector<fs::path>& folders) {
  std::string text = print("%-24s %12s %10s %10s %6s\n", "checkpoint", "tokens", "loss", "size", "files");
  for (const fs::path& folder : folders) {
    const std::string name = folder.filename().string();
    try {
      const io::Checkpoint checkpoint(folder, io::Checkpoint::Verify::kManifest);
      const io::CheckpointManifest& manifest = checkpoint.manifest();
      const std::string loss = manifest.state.step == 0 ? "-" : print("%.4f", manifest.state.last_loss);
      text += print("%-24s %12s %10s %10s %6zu\n", name.c_str(), base::format_count(manifest.state.tokens).c_str(),
                    loss.c_str(), base::format_bytes(static_cast<double>(total_bytes(manifest))).c_str(),
                    manifest.files.size());
    } catch (const Error& error) {
      const bool is_bad = error.exit_code() == ExitCode::kData;
      text += print("%-24s ", name.c_str()) + (is_bad ? "BAD: " : "NOT READ: ") + error.what() + "\n";
    }
  }
  return text;
}

std::string show_text(const io::Checkpoint& checkpoint) {
  const io::CheckpointManifest& manifest = checkpoint.manifest();
  std::string text = "checkpoint           " + checkpoint.folder().string() + "\n" + state_text(manifest.state) +
                     "parameters           " + base::format_count(manifest.parameters.parameter_count) + " in " +
                     std::to_string(manifest.parameters.entries.size()) + " tensors\n" +  //
                     "files                " + std::to_string(manifest.files.size()) + ", " +
                     base::format_bytes(static_cast<double>(total_bytes(manifest))) + "\n" +  //
                     "written by           " + manifest.program_version.substr(0, manifest.program_version.find('\n')) +
                     "\n" + model_section(manifest.configuration);
  text += print("  %-44s %-16s %13s %13s %13s\n", "tensor", "shape", "mean", "deviation", "largest");
  for (const base::ParameterEntry& entry : manifest.parameters.entries) {
    text += statistics_line(entry, Values(checkpoint, entry));
  }
  return text;
}

CheckpointDifference difference(const io::Checkpoint& a, const io::Checkpoint& b) {
  const base::ParameterTable& table = a.manifest().parameters;
  std::string text = table_difference(table, b.manifest().parameters);
  if (!text.empty()) return {false, text};
  static constexpr std::array<const char*, 4> kArrays = {"parameters", "first moment", "second moment", "average"};
  const std::size_t arrays = a.has_average() && b.has_average() ? kArrays.size() : kArrays.size() - 1;
  std::size_t differing = 0;
  for (std::size_t i = 0; i < table.entries.size(); ++i) {
    const Values left(a, table.entries[i]);
    const Values right(b, b.manifest().parameters.entries[i]);
    for (std::size_t array = 0; array < arrays; ++array) {
      const ArrayDifference found = compare(*left.arrays()[array], *right.arrays()[array]);
      if (found.same_bits) continue;
      ++differing;
      text += print("%-44s %-14s %13.6g %13.6g\n", table.entries[i].name.c_str(), kArrays[array], found.largest,
                    found.relative);
    }
  }
  if (differing > 0) {
    text = print("%-44s %-14s %13s %13s\n", "tensor", "array", "max |a - b|", "relative") + text;
  }
  if (a.manifest().state.step != b.manifest().state.step) {
    text += "A is step " + std::to_string(a.manifest().state.step) + ", B is step " +
            std::to_string(b.manifest().state.step) + "\n";
  }
  if (a.has_average() != b.has_average())
    text += std::string("only ") + (a.has_average() ? "A" : "B") + " has an average of the weights\n";
  text += std::to_string(differing) + " of " + std::to_string(table.entries.size() * arrays) + " arrays differ\n";
  return {differing == 0 && a.has_average() == b.has_average(), text};
}

}  // namespace kangpt::tools
