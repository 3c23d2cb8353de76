// What `--version` prints.
#pragma once

#include <string>

namespace kangpt::base {

// "0.1.0", with the revision it was built from where that is known.
std::string project_version();

// "kangpt_dist 0.1.0" and one line for each library it was built with.
std::string version_text(const std::string& program);

}  // namespace kangpt::base
