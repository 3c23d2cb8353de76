// Generated texts on standard output, for people or as JSON.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "data_pipeline/tokenizer/vocabulary.hpp"
#include "model/generation.hpp"

namespace kangpt::tools {

struct WriterOptions {
  bool json = false;
  int count = 1;  // texts of each prompt
};

// Continues prompts and writes what comes out, in order. A single text shows token by token, several grow together and
// show when they are whole. Borrows network and vocabulary. Not thread-safe.
class TextWriter {
 public:
  // options.seed is that of each prompt's first text.
  TextWriter(const model::Transformer& network, const data::Vocabulary& vocabulary, model::GenerationOptions options,
             WriterOptions writer)
      : network_(network), vocabulary_(vocabulary), options_(options), writer_(writer) {}

  // Throws IoError.
  void write(const std::vector<std::string>& prompts, std::uint64_t seed);
  // "400 tokens in 0.8 s: 500 tokens/s" of all that was written.
  std::string speed() const;

 private:
  struct Text {
    std::size_t prompt;
    std::uint64_t seed;
    int sample;  // of the prompt, from 1
  };
  void write_one(const std::string& prompt, std::uint64_t seed);
  void write_together(const std::vector<std::string>& prompts, const std::vector<Text>& texts);
  void show_whole(const std::string& prompt, const Text& text, const model::GeneratedText& generated) const;
  std::string heading(const Text& text, std::size_t prompts) const;
  std::vector<model::GeneratedText> generate(const std::vector<model::Prompt>& prompts,
                                             const std::function<void(std::int64_t)>& on_token);

  const model::Transformer& network_;
  const data::Vocabulary& vocabulary_;
  model::GenerationOptions options_;
  WriterOptions writer_;
  std::size_t shown_ = 0;  // texts
  double seconds_ = 0;
  std::uint64_t tokens_ = 0;
};

}  // namespace kangpt::tools
