// How long threads of OpenMP that wait for work keep a processor busy.
#pragma once

namespace kangpt::base {

// libgomp's threads spin for milliseconds before they sleep, which makes small networks many times slower where other
// processes want the processors. Programs that this one starts from now on spin briefly, unless the user has set
// GOMP_SPINCOUNT or OMP_WAIT_POLICY. False where one of them is set. Before any thread starts.
bool limit_spinning();

// The same for this program itself, which begins again for it: libgomp reads its variables when it is loaded. First
// thing in main.
void limit_own_spinning(char** argv);

}  // namespace kangpt::base
