#include "launcher/completion.hpp"

#include <vector>

#include "launcher/completion_words.hpp"

namespace kangpt::launcher {

bool is_free_text(const CLI::Option& option) {
  return option.check_lname("prompt") || option.check_lname("key");
}

std::string completion_script(const CLI::App& app, const std::string& program, Shell shell) {
  const std::vector<Command> commands = read_commands(app);
  return shell == Shell::kBash ? bash_script(commands, program) : zsh_script(commands, program);
}

}  // namespace kangpt::launcher
