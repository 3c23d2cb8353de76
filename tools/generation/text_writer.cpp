#include "tools/generation/text_writer.hpp"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "base/error.hpp"
#include "base/format.hpp"
#include "data_pipeline/tokenizer/prompt.hpp"
#include "tools/generation/utf8_stream.hpp"

namespace kangpt::tools {
namespace {

constexpr std::size_t kTogether = 16;  // texts at once; more would wait longer for the first

void show(const std::string& text) {
  const bool written = std::fwrite(text.data(), 1, text.size(), stdout) == text.size();
  if (!written || (::isatty(STDOUT_FILENO) != 0 && std::fflush(stdout) != 0))
    throw_io_error("cannot write", "standard output", errno);
}

}  // namespace

void TextWriter::write(const std::vector<std::string>& prompts, std::uint64_t seed) {
  shown_ = 0;
  if (prompts.size() == 1 && writer_.count == 1 && !writer_.json) {
    write_one(prompts.front(), seed);
  } else {
    std::vector<Text> texts;
    for (std::size_t prompt = 0; prompt < prompts.size(); ++prompt) {
      for (int sample = 1; sample <= writer_.count; ++sample) {
        texts.push_back({prompt, seed + static_cast<std::uint64_t>(sample) - 1, sample});
        if (texts.size() < kTogether) continue;
        write_together(prompts, texts);
        texts.clear();
      }
    }
    if (!texts.empty()) write_together(prompts, texts);
  }
  if (std::fflush(stdout) != 0) throw_io_error("cannot write", "standard output", errno);
}

std::vector<model::GeneratedText> TextWriter::generate(const std::vector<model::Prompt>& prompts,
                                                       const std::function<void(std::int64_t)>& on_token) {
  const auto start = std::chrono::steady_clock::now();
  const auto take = [&](std::size_t, std::int64_t token) {
    ++tokens_;
    on_token(token);
    return true;
  };
  std::vector<model::GeneratedText> texts = model::generate_all(network_, prompts, options_, take);
  seconds_ += std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return texts;
}

void TextWriter::write_one(const std::string& prompt, std::uint64_t seed) {
  Utf8Stream stream;
  show(stream.add(data::prompt_text(vocabulary_, prompt)));
  generate({{data::prompt_tokens(vocabulary_, prompt), seed}},
           [&](std::int64_t token) { show(stream.add(vocabulary_.token_bytes(static_cast<std::uint32_t>(token)))); });
  show(stream.finish() + "\n");
}

void TextWriter::write_together(const std::vector<std::string>& prompts, const std::vector<Text>& texts) {
  std::vector<model::Prompt> starts;
  for (const Text& text : texts) starts.push_back({data::prompt_tokens(vocabulary_, prompts[text.prompt]), text.seed});
  const std::vector<model::GeneratedText> generated = generate(starts, [](std::int64_t) {});
  for (std::size_t i = 0; i < texts.size(); ++i) {
    if (!writer_.json) show(heading(texts[i], prompts.size()));
    show_whole(prompts[texts[i].prompt], texts[i], generated[i]);
    ++shown_;
  }
}

void TextWriter::show_whole(const std::string& prompt, const Text& text, const model::GeneratedText& generated) const {
  const std::string continuation = vocabulary_.decode(generated.tokens);
  if (!writer_.json) return show(std::string(data::prompt_text(vocabulary_, prompt)) + continuation + "\n");
  const bool ended = generated.end == model::TextEnd::kEndToken;
  const nlohmann::ordered_json line = {{"prompt", prompt},
                                       {"text", continuation},
                                       {"seed", text.seed},
                                       {"end", ended ? "end_of_text" : "tokens"},
                                       {"prompt_ids", data::prompt_tokens(vocabulary_, prompt)},
                                       {"ids", generated.tokens}};
  show(line.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n");
}

std::string TextWriter::heading(const Text& text, std::size_t prompts) const {
  std::string which;
  if (prompts > 1) which = "prompt " + std::to_string(text.prompt + 1) + " of " + std::to_string(prompts);
  if (prompts > 1 && writer_.count > 1) which += ", ";
  if (writer_.count > 1) which += std::to_string(text.sample) + " of " + std::to_string(writer_.count);
  return (shown_ > 0 ? "\n--- " : "--- ") + which + " (seed " + std::to_string(text.seed) + ") ---\n";
}

std::string TextWriter::speed() const {
  std::array<char, 32> rate{};
  std::snprintf(rate.data(), rate.size(), "%.0f", seconds_ > 0 ? static_cast<double>(tokens_) / seconds_ : 0.0);
  return base::format_count(tokens_) + " tokens in " + base::format_duration(seconds_) + ": " + rate.data() +
         " tokens/s";
}

}  // namespace kangpt::tools
