// kangpt_generate
#include "base/error.hpp"
#include "base/log.hpp"
#include "launcher/generate_program.hpp"

int main(int argc, char** argv) {
  kangpt::base::start_log("kangpt_generate");
  return kangpt::run_program("kangpt_generate", kangpt::launcher::generate_program, argc, argv);
}
