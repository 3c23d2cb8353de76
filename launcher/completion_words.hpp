// What can be typed behind a program's name, as its options say: what the completions of all shells are made of.
#pragma once

#include <CLI/CLI.hpp>
#include <map>
#include <string>
#include <vector>

namespace kangpt::launcher {

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

// The program, then its commands.
std::vector<Command> read_commands(const CLI::App& app);

// Of the program's commands, without itself.
std::vector<Word> words_of_commands(const std::vector<Command>& commands);
// True where an option takes settings of the configuration.
bool has_settings(const std::vector<Command>& commands);
// Those of the configuration.
std::vector<std::string> section_names();

// Names between blanks.
std::string names(const std::vector<Word>& words);
void replace_all(std::string& text, const std::string& from, const std::string& to);
// `text` with each "@name@" in its place.
std::string fill(std::string text, const std::map<std::string, std::string>& values);

// The scripts; `commands` as read_commands() returns them.
std::string bash_script(const std::vector<Command>& commands, const std::string& program);
std::string zsh_script(const std::vector<Command>& commands, const std::string& program);

}  // namespace kangpt::launcher
