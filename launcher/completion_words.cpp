#include "launcher/completion_words.hpp"

#include <algorithm>

#include "base/format.hpp"
#include "config/help_text.hpp"
#include "launcher/completion.hpp"

namespace kangpt::launcher {
namespace {

// Those of CLI::IsMember, which are a part of the type: "TEXT:{error,replace}".
std::vector<std::string> choices_of(const CLI::Option& option) {
  const std::string type = option.get_type_name();
  const std::size_t begin = type.find('{'), end = type.find('}');
  if (begin == std::string::npos || end == std::string::npos) return {};
  return CLI::detail::split(type.substr(begin + 1, end - begin - 1), ',');
}

Value value_of(const CLI::Option& option) {
  if (option.get_items_expected_max() == 0) return {};
  if (option.check_lname("set")) return {Value::Kind::kSetting, {}};
  if (option.check_lname("help-config")) return {Value::Kind::kHelpName, {}};
  std::vector<std::string> choices = choices_of(option);
  if (!choices.empty()) return {Value::Kind::kChoices, std::move(choices)};
  const bool is_path = option.get_type_name().starts_with("TEXT") && !is_free_text(option);
  return {is_path ? Value::Kind::kFile : Value::Kind::kText, {}};
}

Command read(const CLI::App& app) {
  Command command{.word = {app.get_name(), app.get_description(), {}}, .options = {}};
  for (const CLI::Option* const option : app.get_options()) {
    const Value value = value_of(*option);
    for (const std::string& name : option->get_lnames())
      command.options.push_back({"--" + name, option->get_description(), value});
    for (const std::string& name : option->get_snames())
      command.options.push_back({"-" + name, option->get_description(), value});
    if (option->get_positional()) command.takes_files = true;
  }
  return command;
}

}  // namespace

std::vector<Command> read_commands(const CLI::App& app) {
  std::vector<Command> commands{read(app)};
  for (const CLI::App* const command : app.get_subcommands({})) commands.push_back(read(*command));
  return commands;
}

std::vector<Word> words_of_commands(const std::vector<Command>& commands) {
  std::vector<Word> words;
  for (auto command = commands.begin() + 1; command != commands.end(); ++command) words.push_back(command->word);
  return words;
}

bool has_settings(const std::vector<Command>& commands) {
  return std::ranges::any_of(commands, [](const Command& command) {
    return std::ranges::any_of(command.options,
                               [](const Word& word) { return word.value.kind == Value::Kind::kSetting; });
  });
}

std::vector<std::string> section_names() {
  std::vector<std::string> sections;
  for (const config::SettingChoices& setting : config::setting_choices()) {
    const std::string section = setting.field.substr(0, setting.field.find('.'));
    if (sections.empty() || sections.back() != section) sections.push_back(section);
  }
  return sections;
}

std::string names(const std::vector<Word>& words) {
  std::vector<std::string> names;
  for (const Word& word : words) names.push_back(word.name);
  return base::join(names, " ");
}

void replace_all(std::string& text, const std::string& from, const std::string& to) {
  for (std::size_t at = text.find(from); at != std::string::npos; at = text.find(from, at + to.size()))
    text.replace(at, from.size(), to);
}

std::string fill(std::string text, const std::map<std::string, std::string>& values) {
  for (const auto& [name, value] : values) replace_all(text, "@" + name + "@", value);
  return text;
}

}  // namespace kangpt::launcher
