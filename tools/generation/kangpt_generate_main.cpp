// kangpt_generate
#include "base/error.hpp"
#include "base/log.hpp"
#include "base/processor/spinning.hpp"
#include "tools/generation/generate_program.hpp"

int main(int argc, char** argv) {
  kangpt::base::limit_own_spinning(argv);
  kangpt::base::start_log("kangpt_generate");
  return kangpt::run_program("kangpt_generate", kangpt::tools::generate_program, argc, argv);
}
