// kangpt_stories: writes made-up stories, for demonstrations and benchmarks.
#include <CLI/CLI.hpp>
#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <memory>
#include <string>

#include "base/error.hpp"
#include "base/version.hpp"
#include "data_pipeline/text/record_format.hpp"
#include "data_pipeline/text/story_generator.hpp"
#include "launcher/command_line.hpp"

namespace {

struct Arguments {
  std::uint64_t bytes = 1000000;
  std::uint64_t seed = 1;
  std::string output = "-";
};

void write_stories(const Arguments& arguments) {
  const bool to_stdout = arguments.output == "-";
  const std::unique_ptr<std::FILE, int (*)(std::FILE*)> file(
      to_stdout ? stdout : std::fopen(arguments.output.c_str(), "wb"), to_stdout ? std::fflush : std::fclose);
  if (!file) kangpt::throw_io_error("cannot create", arguments.output, errno);
  const std::string name = to_stdout ? "standard output" : arguments.output;
  std::uint64_t written = 0;
  for (std::uint64_t index = 0; written < arguments.bytes; ++index) {
    const std::string story =
        kangpt::data::make_story(arguments.seed, index) + "\n" + std::string(kangpt::data::kSeparator) + "\n";
    if (std::fwrite(story.data(), 1, story.size(), file.get()) != story.size())
      kangpt::throw_io_error("cannot write", name, errno);
    written += story.size();
  }
  if (std::fflush(file.get()) != 0) kangpt::throw_io_error("cannot write", name, errno);
}

int stories(int argc, char** argv) {
  Arguments arguments;
  CLI::App app("Writes made-up stories, each followed by a line <|endoftext|>.");
  app.footer("Example:\n  kangpt_stories --bytes 5000000 --output stories.txt");
  app.set_version_flag("--version", kangpt::base::version_text("kangpt_stories"));
  app.add_option("--bytes", arguments.bytes, "Stop after the story that reaches this size")->capture_default_str();
  app.add_option("--seed", arguments.seed, "Another seed, other stories")->capture_default_str();
  app.add_option("--output", arguments.output, "File to write; - is standard output")->capture_default_str();
  if (kangpt::launcher::parse_arguments(app, argc, argv)) write_stories(arguments);
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  return kangpt::run_program("kangpt_stories", stories, argc, argv);
}
