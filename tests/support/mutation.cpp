#include "tests/support/mutation.hpp"

#include <gtest/gtest.h>
#include <sys/resource.h>

#include <algorithm>
#include <cctype>

#include "base/error.hpp"

namespace kangpt::test {
namespace {

const std::vector<std::string> kNumbers = {"0",
                                           "1",
                                           "-1",
                                           "7",
                                           "255",
                                           "65536",
                                           "2147483648",
                                           "4294967296",
                                           "9223372036854775807",
                                           "18446744073709551615",
                                           "99999999999999999999999",
                                           "1e308",
                                           "0.5"};

#ifdef __SANITIZE_ADDRESS__
constexpr double kMemoryAllowance = 600e6;  // the sanitizer keeps 256 MiB of what was freed
#else
constexpr double kMemoryAllowance = 300e6;
#endif

std::size_t below(std::size_t limit, std::mt19937_64& random) {
  return limit == 0 ? 0 : random() % limit;
}

void replace_number(std::string& input, std::mt19937_64& random) {
  const auto is_digit = [](unsigned char c) { return std::isdigit(c) != 0; };
  const auto start = input.begin() + static_cast<long>(below(input.size(), random));
  const auto begin = std::find_if(start, input.end(), is_digit);
  const auto end = std::find_if_not(begin, input.end(), is_digit);
  input.replace(begin, end, kNumbers[below(kNumbers.size(), random)]);
}

// Peak resident memory of this process so far.
double peak_memory_bytes() {
  rusage usage{};
  ::getrusage(RUSAGE_SELF, &usage);
  return static_cast<double>(usage.ru_maxrss) * 1024.0;
}

void mutate_once(std::string& input, const std::vector<std::string>& words, std::mt19937_64& random) {
  const std::size_t at = below(input.size(), random);
  const std::size_t length = below(std::min<std::size_t>(input.size() - at, 64) + 1, random);
  switch (random() % 8) {
    case 0:
      if (!input.empty()) input[at] = static_cast<char>(input[at] ^ static_cast<char>(1U << (random() % 8)));
      return;
    case 1:
      if (!input.empty()) input[at] = static_cast<char>(random());
      return;
    case 2:
      input.erase(at, length);
      return;
    case 3:
      input.insert(below(input.size(), random), input.substr(at, length));
      return;
    case 4:
      input.resize(at);
      return;
    case 5:
    case 6:
      return replace_number(input, random);
    default:
      if (!words.empty()) input.insert(at, words[below(words.size(), random)]);
  }
}

}  // namespace

std::string mutate(std::string input, const std::vector<std::string>& words, std::mt19937_64& random) {
  for (std::size_t changes = 1 + random() % 4; changes > 0; --changes) mutate_once(input, words, random);
  return input;
}

int count_refused(const Mutations& mutations, const std::function<void(const std::string&)>& read) {
  std::mt19937_64 random(20);
  int count = 0;
  const double before = peak_memory_bytes();
  for (int i = 0; i < mutations.count; ++i) {
    try {
      read(mutate(mutations.valid, mutations.words, random));
    } catch (const Error&) {
      ++count;
    } catch (const std::exception& error) {
      ADD_FAILURE() << "input " << i << ": " << error.what();
    }
  }
  EXPECT_LT(peak_memory_bytes() - before, kMemoryAllowance);
  return count;
}

}  // namespace kangpt::test
