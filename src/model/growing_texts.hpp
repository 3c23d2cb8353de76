// Texts that grow by a token at a time, at a cost that does not depend on their length.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "model/transformer.hpp"

namespace kangpt::model {

// What the network computed for the tokens before is kept and not computed anew, until a text fills the window: since
// positions are learnt, its last window_tokens tokens are then computed whole for each further one, as the window
// slides. Borrows the network, whose weights must not change meanwhile. Not thread-safe.
class GrowingTexts {
 public:
  GrowingTexts(const Transformer& network, std::int64_t texts, std::int64_t window_tokens);

  // Text `text` begins (anew) with these tokens. Logits of the token that follows, [vocabulary], on the CPU in fp32.
  // Throws UsageError where there are none.
  at::Tensor begin(std::int64_t text, std::span<const std::int64_t> tokens);
  // A text and its next token.
  struct Addition {
    std::int64_t text;
    std::int64_t token;
  };
  // Each text at most once, and begun before. Logits behind each, [additions, vocabulary], on the CPU in fp32. What a
  // text gets does not depend on the others.
  at::Tensor add(std::span<const Addition> additions);

 private:
  // Of those texts, which have not filled their window or, respectively, have.
  at::Tensor grow(std::span<const Addition> additions);
  at::Tensor slide(std::span<const Addition> additions);
  // The last tokens of a text that the network may see.
  std::span<const std::int64_t> seen(std::int64_t text) const;

  const Transformer& network_;
  std::int64_t window_tokens_;
  Transformer::TextsPast past_;
  std::vector<std::vector<std::int64_t>> texts_;
};

}  // namespace kangpt::model
