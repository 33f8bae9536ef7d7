/* What the compiled files share: exported names, and one body of a function for each kind of processor. */
#ifndef RLENHANCE_COMPILED_H
#define RLENHANCE_COMPILED_H

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#if defined(_WIN32)
#define EXPORT __declspec(dllexport)
#else
#define EXPORT __attribute__((visibility("default")))
#endif

/* One body for each kind of processor, chosen when the library is loaded. */
#if defined(__GNUC__) && defined(__x86_64__) && defined(__gnu_linux__) && !defined(__clang__)
#if __GNUC__ >= 12 /* with fused multiplication and addition, which "avx2" alone is without */
#define PROCESSORS __attribute__((target_clones("avx512f", "arch=x86-64-v3", "default")))
#else
#define PROCESSORS __attribute__((target_clones("avx512f", "avx2", "default")))
#endif
#define INLINE static inline __attribute__((always_inline))
/* Functions with vectors of 64 bytes, and whether the processor has these; elsewhere such vectors are slow. */
#define WIDE __attribute__((target("avx512f,fma")))
#define IS_WIDE (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("fma"))
#else
#define PROCESSORS
#define INLINE static inline
#endif

#endif
