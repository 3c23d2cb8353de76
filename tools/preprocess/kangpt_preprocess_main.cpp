// kangpt_preprocess
#include "base/error.hpp"
#include "base/log.hpp"
#include "tools/preprocess/preprocess_program.hpp"

int main(int argc, char** argv) {
  kangpt::base::start_log("kangpt_preprocess");
  return kangpt::run_program("kangpt_preprocess", kangpt::tools::preprocess_program, argc, argv);
}
