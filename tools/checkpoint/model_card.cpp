#include "tools/checkpoint/model_card.hpp"

#include <array>
#include <cstdio>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <sstream>

#include "base/format.hpp"
#include "launcher/record/json_lines.hpp"

namespace kangpt::tools {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr const char* kHead = R"(---
library_name: transformers
pipeline_tag: text-generation
tags:
- kangpt
---
)";

constexpr const char* kUse = R"(
## Use
```python
from transformers import AutoModelForCausalLM, AutoTokenizer

model = AutoModelForCausalLM.from_pretrained("PATH", trust_remote_code=True)
tokenizer = AutoTokenizer.from_pretrained("PATH", trust_remote_code=True)
text = tokenizer("Once upon a time", return_tensors="pt")
print(tokenizer.decode(model.generate(**text)[0]))
```
The network itself is `modeling_kangpt.py` in this folder. Back in the trainer, `kangpt_generate --checkpoint PATH`,
`model.initial_weights: "PATH"` and `kangpt_checkpoint import --weights PATH` read the folder.
)";

std::string number(double value) {
  std::array<char, 32> text{};
  std::snprintf(text.data(), text.size(), "%.4f", value);
  return text.data();
}

// Lines of metrics.jsonl; null: none.
struct Measured {
  json last_step;
  json validation;
};

Measured measured_until(const fs::path& run_directory, std::uint64_t step) {
  Measured measured;
  launcher::for_each_object(run_directory / "metrics.jsonl", [&](const json& line) {
    if (line.at("step") > step) return;
    (line.contains("validation_loss") ? measured.validation : measured.last_step) = line;
  });
  return measured;
}

void add_row(std::ostringstream& text, const std::string& what, const std::string& value) {
  text << "| " << what << " | " << value << " |\n";
}

void add_number(std::ostringstream& text, const std::string& what, const json& line, const char* field) {
  if (line.is_object() && line.contains(field) && line[field].is_number())
    add_row(text, what, number(line[field].get<double>()));
}

std::string step_of(const json& line) {
  return line.is_object() ? " at step " + base::format_count(line.value("step", std::uint64_t{0})) : "";
}

std::string measurements(const Measured& measured) {
  std::ostringstream text;
  add_number(text, "Training loss, nats a token" + step_of(measured.last_step), measured.last_step, "loss");
  add_number(text, "Validation loss, nats a token" + step_of(measured.validation), measured.validation,
             "validation_loss");
  add_number(text, "Perplexity", measured.validation, "perplexity");
  add_number(text, "Bits a byte", measured.validation, "bits_per_byte");
  return text.str();
}

std::string data_names(const config::DataSection& data) {
  if (data.sources.empty()) return fs::path(data.directory).filename().string();
  std::vector<std::string> names;
  for (const config::DataSource& source : data.sources) names.push_back(fs::path(source.directory).filename().string());
  return base::join(names, ", ");
}

// checkpoints/step-N of a run directory.
fs::path run_directory_of(const io::Checkpoint& checkpoint) {
  return fs::absolute(checkpoint.folder()).parent_path().parent_path();
}

}  // namespace

std::string model_card(const io::Checkpoint& checkpoint, const config::RunConfig& config) {
  const io::CheckpointManifest& manifest = checkpoint.manifest();
  const fs::path run = run_directory_of(checkpoint);
  std::ostringstream text;
  text << kHead << "# " << run.filename().string() << "\nA KAN-GPT language model of "
       << base::format_count(manifest.parameters.parameter_count) << " parameters.\n\n| | |\n|---|---|\n";
  add_row(text, "Steps", base::format_count(manifest.state.step));
  add_row(text, "Tokens trained on", base::format_count(manifest.state.tokens));
  add_row(text, "Data", data_names(config.data));
  const std::string measured = measurements(measured_until(run, manifest.state.step));
  text << measured;
  if (measured.empty()) text << "\nNo record of its run was beside the checkpoint, so that no losses are known here.\n";
  text << kUse << "\n## Configuration of the run\n```\n"
       << manifest.configuration << (manifest.configuration.ends_with('\n') ? "" : "\n") << "```\nWritten by "
       << manifest.program_version << ".\n";
  return text.str();
}

}  // namespace kangpt::tools
