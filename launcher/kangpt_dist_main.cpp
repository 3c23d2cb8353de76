// kangpt_dist: trains, one process a rank under mpirun.
#include "base/error.hpp"
#include "launcher/dist_program.hpp"

int main(int argc, char** argv) {
  return kangpt::run_program("kangpt_dist", kangpt::launcher::dist_program, argc, argv);
}
