// kangpt_checkpoint: list, show, verify, digest, diff, export, import.
#include "base/error.hpp"
#include "base/log.hpp"
#include "tools/checkpoint/checkpoint_commands.hpp"

int main(int argc, char** argv) {
  kangpt::base::start_log("kangpt_checkpoint");
  return kangpt::run_program("kangpt_checkpoint", kangpt::tools::run_checkpoint_command, argc, argv);
}
