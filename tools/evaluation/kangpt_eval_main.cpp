// kangpt_eval
#include "base/error.hpp"
#include "base/log.hpp"
#include "base/processor/spinning.hpp"
#include "tools/evaluation/eval_program.hpp"

int main(int argc, char** argv) {
  kangpt::base::limit_own_spinning(argv);
  kangpt::base::start_log("kangpt_eval");
  return kangpt::run_program("kangpt_eval", kangpt::tools::eval_program, argc, argv);
}
