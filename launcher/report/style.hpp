// How a report looks.
#pragma once

namespace kangpt::report {

// CSS: light and dark, wide and narrow screens, paper. The colours of curves can be told apart by people who see few
// (Okabe and Ito), and no meaning hangs on colour alone.
extern const char* const kStyle;

}  // namespace kangpt::report
