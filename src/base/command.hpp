// Commands in messages: what a user can paste into a shell.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace kangpt::base {

// `word` as it is to be typed: in single quotes where a shell would read it as anything else.
std::string shell_quoted(std::string_view word);

// The words, each quoted where it has to be.
std::string shell_command(const std::vector<std::string>& words);

// Where this program's file lies; its siblings lie beside it.
std::filesystem::path program_folder();

// `message`, and where it suggests a command ("kangpt_generate --checkpoint ...") whose program lies beside this one
// but is not found by the user's shell, a line that says how to change that.
std::string with_program_folder(const std::string& message);

}  // namespace kangpt::base
