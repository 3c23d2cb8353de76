// Flags of the programs that read text: how its stories are found.
#pragma once

#include <CLI/CLI.hpp>

#include "data_pipeline/shards/manifest.hpp"

namespace kangpt::tools {

// --invalid-utf8, --invalid-records, --separator, --key.
void add_text_options(CLI::App& app, data::PreprocessOptions& options);

inline constexpr char kInputHelp[] =
    "Files or directories of text with a line <|endoftext|> after each story, .jsonl or .json; any of them also .gz or "
    ".zst; - is standard input";

}  // namespace kangpt::tools
