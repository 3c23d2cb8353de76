#include "tools/text_options.hpp"

namespace kangpt::tools {

void add_text_options(CLI::App& app, data::PreprocessOptions& options) {
  app.add_option("--invalid-utf8", options.invalid_utf8, "What to do with bytes that are not UTF-8")
      ->check(CLI::IsMember({"error", "replace"}))
      ->capture_default_str();
  app.add_option("--invalid-records", options.invalid_records,
                 "What to do with JSON that can't be read or has no text: stop, or leave it out and count it")
      ->check(CLI::IsMember({"error", "skip"}))
      ->capture_default_str();
  app.add_option("--separator", options.separator, "Where <|endoftext|> ends a story: alone on a line, or anywhere")
      ->check(CLI::IsMember({"line", "anywhere"}))
      ->capture_default_str();
  app.add_option("--key", options.key, "Text member of JSON objects (default: story or text)");
}

}  // namespace kangpt::tools
