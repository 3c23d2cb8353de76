// Hugging Face's `tokenizers`, asked through Python.
#pragma once

#include <gtest/gtest.h>

#include <cstdlib>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "tests/support/files.hpp"
#include "tests/support/program.hpp"

namespace kangpt::test {

// What with_tokenizers.py says to these arguments; nothing where Python has no such package, neither of its own nor in
// the cache of the set-up.
inline std::optional<nlohmann::json> with_tokenizers(std::vector<std::string> arguments, std::string input = "") {
  arguments.insert(arguments.begin(),
                   {"python3", "-B", source_directory() / "tests/data_pipeline/tokenizer/with_tokenizers.py"});
  std::string path;
  for (const auto& entry : fs::directory_iterator(vocabulary_file().parent_path().parent_path()))
    if (entry.path().filename().string().starts_with("tokenizers-")) path = entry.path();
  if (const char* const before = std::getenv("PYTHONPATH")) path += std::string(":") + before;
  const ProgramResult result =
      run_program(arguments, {.environment = {{"PYTHONPATH", path}, {"TOKENIZERS_PARALLELISM", "false"}},
                              .timeout_seconds = 250,
                              .stdin_text = std::move(input)});
  if (result.exit_code == 77) return std::nullopt;
  EXPECT_EQ(result.exit_code, 0) << result.stderr_text;
  return nlohmann::json::parse(result.stdout_text, nullptr, false);
}

inline constexpr const char* kNoTokenizers = "python3 has no tokenizers (pip install tokenizers)";

}  // namespace kangpt::test
