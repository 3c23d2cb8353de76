#include "config/configuration.hpp"

#include <algorithm>
#include <filesystem>

#include "base/error.hpp"
#include "base/file.hpp"
#include "base/format.hpp"
#include "base/paths.hpp"
#include "config/field_override.hpp"
#include "config/field_value.hpp"
#include "config/problem.hpp"
#include "config/schema.hpp"
#include "config/schema_values.hpp"
#include "config/text_reader.hpp"

namespace kangpt::config {
namespace {

namespace fs = std::filesystem;
using google::protobuf::FieldDescriptor;
using google::protobuf::Message;

constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF";
constexpr const char* kDefaultOrigin = "default";
constexpr const char* kOverrideOrigin = "--set";

// "data.source" and "data.source.weight" are within "data.source".
bool is_within(const std::string& field, const std::string& group) {
  return field == group || field.starts_with(group + ".");
}

std::string missing_file_message(const fs::path& path) {
  std::vector<std::string> neighbours;
  std::error_code ignored;
  const fs::path folder = path.has_parent_path() ? path.parent_path() : fs::path(".");
  for (fs::directory_iterator entry(folder, ignored), end; !ignored && entry != end; entry.increment(ignored)) {
    if (entry->path().extension() == ".textproto") neighbours.push_back(entry->path().filename().string());
  }
  const std::string nearest = base::closest_name(path.filename().string(), neighbours);
  const std::string advice =
      nearest.empty() ? "configs/ has the named runs, and without --config the built-in TinyStories run is used"
                      : "did you mean " + (path.parent_path() / nearest).string() + "?";
  return "configuration " + path.string() + " does not exist; " + advice;
}

// `file`, or where it does not exist here the installed one of that name: "configs/tiny_cpu.textproto" from any folder.
std::string find_configuration(const std::string& file) {
  const fs::path shared = base::shared_directory();
  std::error_code unreadable;
  if (shared.empty() || fs::path(file).is_absolute() || fs::exists(file, unreadable)) return file;
  const fs::path installed = shared / file;
  return fs::exists(installed, unreadable) ? installed.string() : file;
}

std::string read_configuration_file(const fs::path& path) {
  std::error_code error;
  const fs::file_status status = fs::status(path, error);
  if (status.type() == fs::file_type::not_found) throw MissingInputError(missing_file_message(path));
  const bool is_special = fs::is_directory(status) || fs::is_character_file(status) || fs::is_block_file(status);
  if (is_special) throw ConfigError("configuration " + path.string() + " is no file; name a .textproto file");
  if (fs::is_regular_file(status) && fs::file_size(path, error) > kMaxTextBytes) {
    throw ConfigError("configuration " + path.string() + " is larger than 1 MB; is it the right file?");
  }
  return base::read_file(path);
}

// No shell has seen the paths in a file. `message`: the whole, a section or a group.
void expand_homes(Message& message) {
  const google::protobuf::Reflection& reflection = *message.GetReflection();
  std::vector<const FieldDescriptor*> set_fields;
  reflection.ListFields(message, &set_fields);
  for (const FieldDescriptor* const field : set_fields) {
    if (path_kind(*field) != PathKind::kNone) {
      reflection.SetString(&message, field, base::expand_home(reflection.GetString(message, field)));
    } else if (field->is_repeated() && field->message_type() != nullptr) {
      const int count = reflection.FieldSize(message, field);
      for (int i = 0; i < count; ++i) expand_homes(*reflection.MutableRepeatedMessage(&message, field, i));
    } else if (field->message_type() != nullptr) {
      expand_homes(*reflection.MutableMessage(&message, field));
    }
  }
}

constexpr char kMuonLearningRate[] = "optimizer.muon_learning_rate";

// Puts a configuration together and keeps account of where each value came from and what was wrong.
class Assembly {
 public:
  void read(std::string_view text, const std::string& name) {
    if (text.size() > kMaxTextBytes || text.find('\0') != std::string_view::npos) {
      throw ConfigError("configuration " + name + " is no text, or larger than 1 MB; is it the right file?");
    }
    if (text.starts_with(kByteOrderMark)) text.remove_prefix(kByteOrderMark.size());
    const TextFields fields = read_text(text, *message_);
    for (const auto& [path, position] : fields.positions) {
      origins_[path] = name + ":" + std::to_string(position.line);
      positions_[path] = origins_[path] + ":" + std::to_string(position.column);
    }
    for (const TextError& error : fields.errors) {
      errors_.push_back(name + ":" + std::to_string(error.line) + ":" + std::to_string(error.column) + ": " +
                        error.message);
      if (!error.field.empty()) failed_.push_back(error.field);
    }
    if (fields.errors.size() >= kMaxTextErrors) errors_.push_back(name + ": there may be more errors");
  }

  void override_field(const std::string& argument) {
    const FieldOverride result = apply_override(argument, *message_);
    if (result.error.empty()) {
      std::string& origin = origins_[result.field];
      const bool is_shared = result.is_appended && !origin.empty() && !origin.ends_with(kOverrideOrigin);
      origin = is_shared ? origin + ", " + kOverrideOrigin : kOverrideOrigin;
      positions_[result.field] = origin;
      return;
    }
    errors_.push_back(std::string(kOverrideOrigin) + " " + argument + ": " + result.error);
    if (!result.field.empty()) failed_.push_back(result.field);
  }

  // Throws all errors, of syntax and of values, as one.
  Configuration finish() {
    expand_homes(*message_);
    Configuration configuration{to_values(*message_), origins_of_all()};
    for (const Problem& problem : find_problems(configuration.values)) {
      if (follows_from_error(problem)) continue;
      errors_.push_back(position_of(problem) + ": " + problem.message);
    }
    if (!errors_.empty()) throw ConfigError(base::join(errors_, "\n"));
    OptimizerSection& optimizer = configuration.values.optimizer;
    if (!origins_.contains(kMuonLearningRate)) optimizer.muon_learning_rate = usual_muon_learning_rate(optimizer);
    return configuration;
  }

 private:
  std::map<std::string, std::string> origins_of_all() const {
    std::map<std::string, std::string> origins = origins_;
    for (const FieldDescriptor* const field : setting_fields()) origins.emplace(field_path(*field), kDefaultOrigin);
    return origins;
  }

  // True where a field of the problem could not be read, so that its value is not what the user meant.
  bool follows_from_error(const Problem& problem) const {
    return std::any_of(problem.fields.begin(), problem.fields.end(), [this](const std::string& field) {
      return std::any_of(failed_.begin(), failed_.end(), [&](const std::string& failed) {
        return is_within(field, failed) || is_within(failed, field);
      });
    });
  }

  // Of the fields that do not agree, the first that the user has set.
  std::string position_of(const Problem& problem) const {
    for (const std::string& field : problem.fields) {
      const auto position = positions_.find(field);
      if (position != positions_.end()) return position->second;
    }
    return kDefaultOrigin;
  }

  const std::unique_ptr<Message> message_ = new_configuration();
  std::map<std::string, std::string> origins_;    // of the fields that were set: "FILE:12"
  std::map<std::string, std::string> positions_;  // the same for messages: "FILE:12:3"
  std::vector<std::string> errors_;
  std::vector<std::string> failed_;  // fields and sections with an error
};

}  // namespace

double usual_muon_learning_rate(const OptimizerSection& optimizer) {
  const OptimizerSection built_in = to_values(*new_configuration()).optimizer;
  return built_in.muon_learning_rate * (optimizer.learning_rate / built_in.learning_rate);
}

Configuration load_configuration(const std::string& file, const std::vector<std::string>& overrides) {
  Assembly assembly;
  if (!file.empty()) {
    const std::string found = find_configuration(file);
    assembly.read(read_configuration_file(found), found);
  }
  for (const std::string& argument : overrides) assembly.override_field(argument);
  return assembly.finish();
}

Configuration parse_configuration(std::string_view text, const std::string& name) {
  Assembly assembly;
  assembly.read(text, name);
  return assembly.finish();
}

}  // namespace kangpt::config
