// Functions that are compiled once for each width of vectors, of which the processor's widest runs.
#pragma once

#if defined(__x86_64__)
#define KANGPT_VECTOR_CLONES __attribute__((target_clones("avx512f", "avx2", "default")))
#else
#define KANGPT_VECTOR_CLONES  // of others the one width there is, such as NEON's
#endif
