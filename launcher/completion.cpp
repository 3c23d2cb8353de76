#include "launcher/completion.hpp"

#include <algorithm>
#include <map>
#include <vector>

#include "base/format.hpp"
#include "config/help_text.hpp"

namespace kangpt::launcher {
namespace {

// What stands behind an option.
struct Value {
  enum class Kind { kNone, kText, kFile, kChoices, kSetting, kHelpName } kind = Kind::kNone;
  std::vector<std::string> choices;
};

struct Word {
  std::string name;  // "--output", "-h", "verify"
  std::string description;
  Value value;
};

struct Command {
  Word word;  // the program itself has none
  std::vector<Word> options;
  bool takes_files = false;
};

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

// The program, then its commands.
std::vector<Command> read_all(const CLI::App& app) {
  std::vector<Command> commands{read(app)};
  for (const CLI::App* const command : app.get_subcommands({})) commands.push_back(read(*command));
  return commands;
}

std::string names(const std::vector<Word>& words) {
  std::vector<std::string> names;
  for (const Word& word : words) names.push_back(word.name);
  return base::join(names, " ");
}

std::vector<Word> words_of_commands(const std::vector<Command>& commands) {
  std::vector<Word> words;
  for (auto command = commands.begin() + 1; command != commands.end(); ++command) words.push_back(command->word);
  return words;
}

std::vector<std::string> section_names() {
  std::vector<std::string> sections;
  for (const config::SettingChoices& setting : config::setting_choices()) {
    const std::string section = setting.field.substr(0, setting.field.find('.'));
    if (sections.empty() || sections.back() != section) sections.push_back(section);
  }
  return sections;
}

void replace_all(std::string& text, const std::string& from, const std::string& to) {
  for (std::size_t at = text.find(from); at != std::string::npos; at = text.find(from, at + to.size()))
    text.replace(at, from.size(), to);
}

// `text` with each "@name@" in its place.
std::string fill(std::string text, const std::map<std::string, std::string>& values) {
  for (const auto& [name, value] : values) replace_all(text, "@" + name + "@", value);
  return text;
}

bool has_settings(const std::vector<Command>& commands) {
  return std::ranges::any_of(commands, [](const Command& command) {
    return std::ranges::any_of(command.options,
                               [](const Word& word) { return word.value.kind == Value::Kind::kSetting; });
  });
}

// --- bash ---

// bash splits words at "=": they are put together again first, and what stands before it is no part of an answer.
constexpr const char* kBashScript = R"(# Completion for bash, printed by: @program@ --print-completion bash
@function@() {
  local i word words=() command="" kind="" current previous offered="" positional=""
  for ((i = 0; i <= COMP_CWORD; i++)); do
    word=${COMP_WORDS[i]}
    if ((i > 1)) && [[ $word == = || (${COMP_WORDS[i - 1]} == = && $word != --*) ]]; then
      words[${#words[@]} - 1]+=$word
    else
      words+=("$word")
    fi
  done
  current=${words[${#words[@]} - 1]} previous=${words[${#words[@]} - 2]}
  if [[ $current == --*=* ]]; then
    previous=${current%%=*} current=${current#*=}
  fi
  for ((i = 1; i < ${#words[@]} - 1; i++)); do
    case ${words[i]} in
      @with_value@) ((++i)) ;;
      @commands@) command=${words[i]} && break ;;
    esac
  done
  case $previous in
@values@    *) kind=word ;;
  esac
  COMPREPLY=()
  compopt +o default 2>/dev/null
  case $kind in
    text) return ;;
    setting)
      @function@_settings "$current"
      return
      ;;
    choice) ;;
    word)
      case $command in
@options@      esac
      [[ $current == -* || -z $positional ]] || offered=$positional
      [[ $offered != file ]] || kind=file
      ;;
  esac
  if [[ $kind == file ]]; then
    compopt -o filenames 2>/dev/null
    mapfile -t COMPREPLY < <(compgen -f -- "$current")
  else
    mapfile -t COMPREPLY < <(compgen -W "$offered" -- "$current")
  fi
}
)";

constexpr const char* kBashSettings = R"(
# section.field= first, then the values of the field.
@function@_settings() {
  local offered=""
  if [[ $1 != *=* ]]; then
    compopt -o nospace 2>/dev/null
    mapfile -t COMPREPLY < <(compgen -S = -W "@fields@" -- "$1")
    return
  fi
  case ${1%%=*} in
@choices@  esac
  mapfile -t COMPREPLY < <(compgen -W "$offered" -- "${1#*=}")
  [[ ${COMP_WORDBREAKS-=} == *=* ]] || COMPREPLY=("${COMPREPLY[@]/#/${1%%=*}=}")
}
)";

// Training is started by mpirun: what stands behind the program's name there is completed too, unless somebody else
// does.
constexpr const char* kBashMpirun = R"(
@function@_mpirun() {
  local i
  for ((i = 1; i < COMP_CWORD; i++)); do
    [[ ${COMP_WORDS[i]##*/} == @program@ ]] || continue
    COMP_WORDS=("${COMP_WORDS[@]:i}")
    COMP_CWORD=$((COMP_CWORD - i))
    @function@
    return
  done
}
complete -p mpirun &>/dev/null || complete -o bashdefault -o default -F @function@_mpirun mpirun
)";

// Options with a value, and what is offered for it.
using ValueCases = std::map<std::string, std::string>;

ValueCases bash_values(const std::vector<Command>& commands) {
  ValueCases cases;
  for (const Command& command : commands) {
    for (const Word& option : command.options) {
      const std::string& name = option.name;
      switch (option.value.kind) {
        case Value::Kind::kNone:
          break;
        case Value::Kind::kText:
          cases[name] = "kind=text";
          break;
        case Value::Kind::kFile:
          cases[name] = "kind=file";
          break;
        case Value::Kind::kSetting:
          cases[name] = "kind=setting";
          break;
        case Value::Kind::kHelpName:
          cases[name] = "kind=choice offered=\"" + base::join(section_names(), " ") + "\"";
          break;
        case Value::Kind::kChoices:
          cases[name] = "kind=choice offered=\"" + base::join(option.value.choices, " ") + "\"";
          break;
      }
    }
  }
  return cases;
}

// "a|b"; of none a pattern that no word matches.
std::string bash_pattern(const std::vector<std::string>& words) {
  return words.empty() ? "''" : base::join(words, "|");
}

std::string bash_options(const std::vector<Command>& commands) {
  std::string text;
  for (const Command& command : commands) {
    const bool is_program = command.word.name.empty();
    const std::string first_words = is_program ? names(words_of_commands(commands)) : "";
    const std::string positional = first_words.empty() && command.takes_files ? "file" : first_words;
    text += "        \"" + command.word.name + "\") offered=\"" + names(command.options) + "\" positional=\"" +
            positional + "\" ;;\n";
  }
  return text;
}

std::string bash_script(const std::vector<Command>& commands, const std::string& program) {
  std::vector<std::string> fields;
  std::string choices;
  for (const config::SettingChoices& setting : config::setting_choices()) {
    fields.push_back(setting.field);
    if (!setting.choices.empty())
      choices += "    " + setting.field + ") offered=\"" + base::join(setting.choices, " ") + "\" ;;\n";
  }
  std::vector<std::string> first_words, with_value;
  std::string values;
  for (const Word& word : words_of_commands(commands)) first_words.push_back(word.name);
  for (const auto& [option, action] : bash_values(commands)) {
    with_value.push_back(option);
    values += "    " + option + ") " + action + " ;;\n";
  }
  std::string script = kBashScript;
  if (has_settings(commands)) script += kBashSettings;
  script += "complete -F @function@ @program@\n";
  if (program == "kangpt_dist") script += kBashMpirun;
  return fill(script, {{"program", program},
                       {"function", "_" + program},
                       {"commands", bash_pattern(first_words)},
                       {"with_value", bash_pattern(with_value)},
                       {"values", values},
                       {"options", bash_options(commands)},
                       {"fields", base::join(fields, " ")},
                       {"choices", choices}});
}

// --- zsh ---

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

}  // namespace

bool is_free_text(const CLI::Option& option) {
  return option.check_lname("prompt") || option.check_lname("key");
}

std::string completion_script(const CLI::App& app, const std::string& program, Shell shell) {
  const std::vector<Command> commands = read_all(app);
  return shell == Shell::kBash ? bash_script(commands, program) : zsh_script(commands, program);
}

}  // namespace kangpt::launcher
