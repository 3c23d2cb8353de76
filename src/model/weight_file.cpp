#include "model/weight_file.hpp"

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "base/error.hpp"
#include "base/format.hpp"
#include "io/safetensors.hpp"

namespace kangpt::model {
namespace {

constexpr std::size_t kProblemsShown = 8;

std::string shape_text(const std::vector<std::int64_t>& shape) {
  std::vector<std::string> extents;
  for (const std::int64_t extent : shape) extents.push_back(std::to_string(extent));
  return std::string("[").append(base::join(extents, ", ")).append("]");
}

std::vector<std::string> mismatches(const io::SafetensorsFile& file, const base::ParameterTable& table) {
  std::vector<std::string> problems;
  std::vector<std::string> names;
  for (const base::ParameterEntry& entry : table.entries) {
    names.push_back(entry.name);
    const auto tensor = file.tensors().find(entry.name);
    if (tensor == file.tensors().end()) {
      problems.push_back(entry.name + " is missing");
    } else if (tensor->second.shape != entry.shape) {
      problems.push_back(entry.name + " has shape " + shape_text(tensor->second.shape) + ", the model needs " +
                         shape_text(entry.shape));
    }
  }
  for (const auto& [name, tensor] : file.tensors()) {
    if (std::find(names.begin(), names.end(), name) == names.end()) problems.push_back(name + " is not of this model");
  }
  return problems;
}

void require_match(const io::SafetensorsFile& file, const base::ParameterTable& table, const std::string& path) {
  std::vector<std::string> problems = mismatches(file, table);
  if (problems.empty()) return;
  const std::size_t count = problems.size();
  if (count > kProblemsShown) {
    problems.resize(kProblemsShown);
    problems.push_back("and " + std::to_string(count - kProblemsShown) + " more");
  }
  throw ConfigError(path + " holds the weights of another model:\n  " + base::join(problems, "\n  ") +
                    "\nSet the fields of model {} to those that the file was made with.");
}

}  // namespace

void check_weights(const std::filesystem::path& path, const base::ParameterTable& table) {
  require_match(io::SafetensorsFile(path), table, path.string());
}

void load_weights(const std::filesystem::path& path, const base::ParameterTable& table, std::span<float> flat) {
  const io::SafetensorsFile file(path);
  require_match(file, table, path.string());
  std::fill(flat.begin(), flat.end(), 0.0F);
  for (const base::ParameterEntry& entry : table.entries) {
    const std::span<float> values = flat.subspan(entry.offset, entry.size);
    file.read(entry.name, entry.shape, values);
    if (std::ranges::all_of(values, [](float value) { return std::isfinite(value); })) continue;
    throw DataError(path.string() + ": the values of " + entry.name +
                    " are not all finite numbers; the file is damaged");
  }
}

}  // namespace kangpt::model
