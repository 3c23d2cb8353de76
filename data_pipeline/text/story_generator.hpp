// Made-up children's stories: text to try the trainer with where no real corpus is at hand.
#pragma once

#include <cstdint>
#include <string>

namespace kangpt::data {

// Story number `index` of the corpus `seed`: a few paragraphs of plain English, 300 to 1,200 bytes of ASCII, without
// the separator line. Names, places, things and feelings stay the same within a story, so that a language model has
// something to learn beyond spelling. The same arguments give the same text on any machine.
std::string make_story(std::uint64_t seed, std::uint64_t index);

}  // namespace kangpt::data
