// Deliberate damage for fuzz tests: random changes of a valid input that keep much of it intact.
#pragma once

#include <functional>
#include <random>
#include <string>
#include <vector>

namespace kangpt::test {

// Changes `input` in one to four places: bits, bytes, ranges lost, repeated or moved, numbers replaced by extreme ones,
// and pieces of `words` put in. The same generator state gives the same result.
std::string mutate(std::string input, const std::vector<std::string>& words, std::mt19937_64& random);

struct Mutations {
  std::string valid;
  std::vector<std::string> words;
  int count;
};

// Calls `read` with mutations of a valid input; returns how many it refused with an Error. Adds a failure to the test
// for any other exception, and for memory that grows out of proportion to small inputs.
int count_refused(const Mutations& mutations, const std::function<void(const std::string&)>& read);

}  // namespace kangpt::test
