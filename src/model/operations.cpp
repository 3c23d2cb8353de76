#include "model/operations.hpp"

namespace kangpt::model {

std::unique_ptr<Operations> make_operations(const at::Device&) {
  return make_aten_operations();
}

}  // namespace kangpt::model
