// kangpt_eval
#include "base/error.hpp"
#include "base/log.hpp"
#include "launcher/eval_program.hpp"
#include "launcher/spinning.hpp"

int main(int argc, char** argv) {
  kangpt::launcher::limit_own_spinning(argv);
  kangpt::base::start_log("kangpt_eval");
  return kangpt::run_program("kangpt_eval", kangpt::launcher::eval_program, argc, argv);
}
