#include "launcher/command_line.hpp"

#include <cstdio>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.hpp"
#include "base/format.hpp"
#include "base/paths.hpp"
#include "launcher/completion.hpp"

namespace kangpt::launcher {
namespace {

void collect_names(const CLI::App& app, std::vector<std::string>& names) {
  for (const CLI::Option* const option : app.get_options()) {
    for (const std::string& name : option->get_lnames()) names.push_back("--" + name);
  }
  for (const CLI::App* const command : app.get_subcommands({})) {
    names.push_back(command->get_name());
    collect_names(*command, names);
  }
}

// A shell leaves the "~" of --output=~/x alone.
void expand_homes(CLI::App& app) {
  const auto expand = [](std::string& word) {
    word = base::expand_home(word);
    return std::string();
  };
  for (CLI::Option* const option : app.get_options()) {
    if (!is_free_text(*option)) option->transform(CLI::Validator(expand, "", ""));
  }
  for (CLI::App* const command : app.get_subcommands({})) expand_homes(*command);
}

std::string unknown_arguments(const CLI::App& app) {
  std::vector<std::string> names;
  collect_names(app, names);
  std::string message;
  for (const std::string& argument : app.remaining(true)) {
    const std::string meant = base::closest_name(argument.substr(0, argument.find('=')), names);
    if (!message.empty()) message += "\n";
    message += "unknown argument '" + argument + "'" + (meant.empty() ? "" : "; did you mean '" + meant + "'?");
  }
  return message;
}

// "; valid: list, show" where one of these commands has to be named and is not.
std::string valid_commands(const CLI::App& app) {
  if (app.get_require_subcommand_min() == 0 || !app.get_subcommands().empty()) return "";
  std::vector<std::string> names;
  for (const CLI::App* const command : app.get_subcommands({})) names.push_back(command->get_name());
  return "; valid: " + base::join(names, ", ");
}

// No option of the programs: nobody types it twice.
constexpr const char* kPrintCompletion = "--print-completion";

void print_completion(const CLI::App& app, const std::string& program, const std::string& shell) {
  if (shell != "bash" && shell != "zsh")
    throw UsageError(std::string(kPrintCompletion) + " needs a shell; valid: bash, zsh");
  std::fputs(completion_script(app, program, shell == "bash" ? Shell::kBash : Shell::kZsh).c_str(), stdout);
}

}  // namespace

bool parse_arguments(CLI::App& app, int argc, const char* const* argv) {
  const std::string advice = "\nSee " + std::string(argv[0]) + " --help";
  if (!app.get_subcommands({}).empty()) app.set_help_all_flag("--help-all", "Print the help of all commands and exit");
  if (argc > 1 && std::string_view(argv[1]) == kPrintCompletion) {
    print_completion(app, std::filesystem::path(argv[0]).filename(), argc > 2 ? argv[2] : "");
    return false;
  }
  expand_homes(app);
  try {
    app.parse(argc, argv);
    return true;
  } catch (const CLI::Success& asked) {  // --help, --version
    app.exit(asked);
    return false;
  } catch (const CLI::ExtrasError&) {
    throw UsageError(unknown_arguments(app) + advice);
  } catch (const CLI::RequiredError& error) {  // often because its name was misspelt
    const std::string unknown = unknown_arguments(app);
    throw UsageError((unknown.empty() ? "" : unknown + "\n") + error.what() + valid_commands(app) + advice);
  } catch (const CLI::ParseError& error) {
    throw UsageError(error.what() + advice);
  }
}

}  // namespace kangpt::launcher
