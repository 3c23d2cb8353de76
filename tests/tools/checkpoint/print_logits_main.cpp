// The logits of a network as JSON, for tests that compare them with another implementation's.
//
//   print_logits PATH ID...     [[logit of token 0 behind the first ID, ...], ...], a line; PATH as in kangpt_generate
#include <cstdio>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "base/error.hpp"
#include "base/log.hpp"
#include "tools/trained_network.hpp"

namespace {

int print_logits(int argc, char** argv) {
  std::vector<std::int64_t> ids;
  for (int i = 2; i < argc; ++i) ids.push_back(std::stoll(argv[i]));
  if (ids.empty()) throw kangpt::UsageError("print_logits PATH ID...");
  const kangpt::tools::TrainedNetwork trained({argv[1], ""});
  const at::Tensor logits = trained.network().logits(at::tensor(ids).unsqueeze(0))[0].contiguous();
  nlohmann::json rows = nlohmann::json::array();
  for (std::int64_t row = 0; row < logits.size(0); ++row) {
    const float* begin = logits[row].const_data_ptr<float>();
    rows.push_back(std::vector<float>(begin, begin + logits.size(1)));
  }
  std::puts(rows.dump().c_str());
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  kangpt::base::start_log("print_logits");
  return kangpt::run_program("print_logits", print_logits, argc, argv);
}
