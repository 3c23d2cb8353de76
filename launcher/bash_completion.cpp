#include <map>

#include "base/format.hpp"
#include "config/help_text.hpp"
#include "launcher/completion_words.hpp"

namespace kangpt::launcher {
namespace {

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

}  // namespace

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

}  // namespace kangpt::launcher
