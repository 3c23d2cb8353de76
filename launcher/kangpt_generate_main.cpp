// kangpt_generate
#include "base/error.hpp"
#include "base/log.hpp"
#include "launcher/generate_program.hpp"
#include "launcher/spinning.hpp"

int main(int argc, char** argv) {
  kangpt::launcher::limit_own_spinning(argv);
  kangpt::base::start_log("kangpt_generate");
  return kangpt::run_program("kangpt_generate", kangpt::launcher::generate_program, argc, argv);
}
