#include "base/format.hpp"
#include "config/help_text.hpp"
#include "launcher/completion_words.hpp"

namespace kangpt::launcher {
namespace {

constexpr const char* kZshScript = R"(#compdef @program@
# Completion for zsh, printed by: @program@ --print-completion zsh
@function@() {
  local context state line
  typeset -A opt_args
@commands@}
)";

constexpr const char* kZshSettings = R"(
# section.field= first, then the values of the field.
@function@_settings() {
  if compset -P '*='; then
    case ${${IPREFIX%=}##*[ =]} in
@choices@    esac
  else
    compadd -S = -- @fields@
  fi
}
)";

constexpr const char* kZshEnd = R"(
if [[ ${funcstack[1]} == @function@ ]]; then
  @function@ "$@"
else
  compdef @function@ @program@
fi
)";

// Within '...' of a specification for _arguments.
std::string zsh_text(std::string text) {
  for (const char* const mark : {"\\", "[", "]", ":"}) replace_all(text, mark, "\\" + std::string(mark));
  replace_all(text, "'", "'\\''");
  return text;
}

std::string zsh_value(const Value& value, const std::string& function) {
  switch (value.kind) {
    case Value::Kind::kNone:
      return "";
    case Value::Kind::kText:
      return ":value: ";
    case Value::Kind::kFile:
      return ":file:_files";
    case Value::Kind::kSetting:
      return ":setting:" + function + "_settings";
    case Value::Kind::kHelpName:
      return "::section:(" + base::join(section_names(), " ") + ")";
    case Value::Kind::kChoices:
      return ":value:(" + base::join(value.choices, " ") + ")";
  }
  return "";
}

std::string zsh_arguments(const Command& command, const std::string& function) {
  std::string text;
  for (const Word& option : command.options) {
    const bool may_repeat = option.value.kind == Value::Kind::kSetting || option.value.kind == Value::Kind::kFile;
    text += " \\\n      '" + std::string(may_repeat ? "*" : "") + option.name + "[" + zsh_text(option.description) +
            "]" + zsh_value(option.value, function) + "'";
  }
  return command.takes_files ? text + " \\\n      '*:file:_files'" : text;
}

std::string zsh_commands(const std::vector<Command>& commands, const std::string& function) {
  if (commands.size() == 1) return "  _arguments" + zsh_arguments(commands.front(), function) + "\n";
  std::string described, cases;
  for (auto command = commands.begin() + 1; command != commands.end(); ++command) {
    described += " \\\n    '" + command->word.name + ":" + zsh_text(command->word.description) + "'";
    cases += "    " + command->word.name + ") _arguments" + zsh_arguments(*command, function) + " ;;\n";
  }
  return "  local -a commands=(" + described + ")\n  _arguments -C" + zsh_arguments(commands.front(), function) +
         " \\\n      '1:command:->command' '*::argument:->argument'\n" +
         "  [[ $state == command ]] && _describe command commands && return\n  [[ $state == argument ]] || return\n" +
         "  case $words[1] in\n" + cases + "  esac\n";
}

}  // namespace

std::string zsh_script(const std::vector<Command>& commands, const std::string& program) {
  std::vector<std::string> fields;
  std::string choices;
  for (const config::SettingChoices& setting : config::setting_choices()) {
    fields.push_back(setting.field);
    if (!setting.choices.empty())
      choices += "      " + setting.field + ") compadd -- " + base::join(setting.choices, " ") + " ;;\n";
  }
  const std::string function = "_" + program;
  std::string script = kZshScript;
  if (has_settings(commands)) script += kZshSettings;
  return fill(script + kZshEnd, {{"program", program},
                                 {"function", function},
                                 {"commands", zsh_commands(commands, function)},
                                 {"fields", base::join(fields, " ")},
                                 {"choices", choices}});
}

}  // namespace kangpt::launcher
