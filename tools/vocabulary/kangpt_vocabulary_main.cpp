// kangpt_vocabulary
#include "base/error.hpp"
#include "base/log.hpp"
#include "tools/vocabulary/vocabulary_program.hpp"

int main(int argc, char** argv) {
  kangpt::base::start_log("kangpt_vocabulary");
  return kangpt::run_program("kangpt_vocabulary", kangpt::tools::vocabulary_program, argc, argv);
}
