#include "model/parameters/weight_file.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.hpp"
#include "base/format.hpp"
#include "base/log.hpp"
#include "io/safetensors.hpp"

namespace kangpt::model {
namespace {

constexpr std::size_t kProblemsShown = 8;

std::string shape_text(const std::vector<std::int64_t>& shape) {
  std::vector<std::string> extents;
  for (const std::int64_t extent : shape) extents.push_back(std::to_string(extent));
  return std::string("[").append(base::join(extents, ", ")).append("]");
}

// What torch.compile, DistributedDataParallel, FSDP and activation checkpointing put into names.
constexpr std::array<std::string_view, 4> kWrappers = {"_orig_mod", "module", "_fsdp_wrapped_module",
                                                       "_checkpoint_wrapped_module"};

std::string without_wrappers(std::string_view name) {
  std::string plain;
  while (!name.empty()) {
    const std::size_t end = std::min(name.find('.'), name.size() - 1) + 1;  // behind the dot
    const std::string_view part = name.substr(0, end);
    const bool is_wrapper =
        part.ends_with('.') && std::ranges::find(kWrappers, part.substr(0, end - 1)) != kWrappers.end();
    if (!is_wrapper) plain += part;
    name.remove_prefix(end);
  }
  return plain;
}

using NamesInFile = std::map<std::string, std::string>;  // of parameters -> of tensors

// What stands before the name of the table's first parameter, if it stands before all names.
std::string common_prefix(const NamesInFile& names, const std::string& parameter) {
  const std::string end = "." + parameter;
  for (const auto& [name, in_file] : names) {
    if (!name.ends_with(end)) continue;
    const std::string prefix = name.substr(0, name.size() - parameter.size());
    const bool is_common = std::ranges::all_of(names, [&](const auto& each) { return each.first.starts_with(prefix); });
    if (is_common) return prefix;
  }
  return "";
}

// The tensors of a file by the names that a program without wrappers would have given them.
NamesInFile plain_names(const io::SafetensorsFile& file, const base::ParameterTable& table, const std::string& path) {
  NamesInFile names;
  for (const auto& [name, tensor] : file.tensors()) {
    const auto [other, is_new] = names.emplace(without_wrappers(name), name);
    if (!is_new) throw ConfigError(path + " has " + other->first + " twice: as " + other->second + " and as " + name);
  }
  const std::string prefix = common_prefix(names, table.entries.front().name);
  if (prefix.empty()) return names;
  NamesInFile shorter;
  for (const auto& [name, in_file] : names) shorter.emplace(name.substr(prefix.size()), in_file);
  return shorter;
}

std::string shape_problem(const base::ParameterEntry& entry, const std::vector<std::int64_t>& shape) {
  const bool is_transposed = std::ranges::equal(shape, std::vector(entry.shape.rbegin(), entry.shape.rend()));
  return entry.name + " has shape " + shape_text(shape) + ", the model needs " + shape_text(entry.shape) +
         (is_transposed ? ": is it transposed?" : "");
}

std::vector<std::string> mismatches(const io::SafetensorsFile& file, const NamesInFile& in_file,
                                    const base::ParameterTable& table) {
  std::vector<std::string> problems;
  std::vector<std::string> names;
  for (const base::ParameterEntry& entry : table.entries) {
    names.push_back(entry.name);
    const auto name = in_file.find(entry.name);
    if (name == in_file.end()) {
      problems.push_back(entry.name + " is missing");
      continue;
    }
    const std::vector<std::int64_t>& shape = file.tensors().at(name->second).shape;
    if (shape != entry.shape) problems.push_back(shape_problem(entry, shape));
  }
  for (const auto& [name, tensor] : in_file) {
    if (std::find(names.begin(), names.end(), name) == names.end())
      problems.push_back(tensor + " is not of this model");
  }
  return problems;
}

// The file's names of the table's parameters.
NamesInFile require_match(const io::SafetensorsFile& file, const base::ParameterTable& table, const std::string& path) {
  NamesInFile names = plain_names(file, table, path);
  std::vector<std::string> problems = mismatches(file, names, table);
  if (problems.empty()) return names;
  const std::size_t count = problems.size();
  const auto is_known = [&](const base::ParameterEntry& entry) { return names.contains(entry.name); };
  if (std::ranges::none_of(table.entries, is_known)) {
    throw ConfigError(path + " has other names than this project's: " +
                      (names.empty() ? "none" : names.begin()->second) + " and the like, not " +
                      table.entries.front().name + ". kangpt_checkpoint export shows the names; rename the tensors.");
  }
  if (count > kProblemsShown) {
    problems.resize(kProblemsShown);
    problems.push_back("and " + std::to_string(count - kProblemsShown) + " more");
  }
  throw ConfigError(path + " holds the weights of another model:\n  " + base::join(problems, "\n  ") +
                    "\nSet the fields of model {} to those that the file was made with.");
}

}  // namespace

void check_weights(const std::filesystem::path& path, const base::ParameterTable& table) {
  const NamesInFile names = require_match(io::SafetensorsFile(path), table, path.string());
  const auto wrapped = std::ranges::find_if(names, [](const auto& each) { return each.first != each.second; });
  if (wrapped == names.end()) return;
  base::log_info(path.string() + ": read without what a wrapper added to the names: " + wrapped->second + " is " +
                 wrapped->first);
}

void load_weights(const std::filesystem::path& path, const base::ParameterTable& table, std::span<float> flat) {
  const io::SafetensorsFile file(path);
  const NamesInFile names = require_match(file, table, path.string());
  std::fill(flat.begin(), flat.end(), 0.0F);
  for (const base::ParameterEntry& entry : table.entries) {
    const std::span<float> values = flat.subspan(entry.offset, entry.size);
    file.read(names.at(entry.name), entry.shape, values);
    if (std::ranges::all_of(values, [](float value) { return std::isfinite(value); })) continue;
    throw DataError(path.string() + ": the values of " + entry.name +
                    " are not all finite numbers; the file is damaged");
  }
}

}  // namespace kangpt::model
