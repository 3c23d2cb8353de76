// Settings of LibTorch that every program computes with.
#pragma once

namespace kangpt::operations {

// Repeatable arithmetic on `threads` CPU threads; 0: as many as this process may use. Once a process, before it
// computes.
void start_computing(int threads);

}  // namespace kangpt::operations
