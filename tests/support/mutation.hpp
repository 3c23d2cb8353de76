// Deliberate damage for fuzz tests: random changes of a valid input that keep much of it intact.
#pragma once

#include <random>
#include <string>
#include <vector>

namespace kangpt::test {

// Changes `input` in one to four places: bits, bytes, ranges lost, repeated or moved, numbers replaced by extreme ones,
// and pieces of `words` put in. The same generator state gives the same result.
std::string mutate(std::string input, const std::vector<std::string>& words, std::mt19937_64& random);

// Peak resident memory of this process so far.
double peak_memory_bytes();

}  // namespace kangpt::test
