// Keeps release binaries, which are linked with an older glibc (REPVGG_GLIBC_SYSROOT), from needing a newer
// one.

// Whether the process has one thread, so that reference counts need no atomics: libstdc++ 12 reads it, glibc
// has it from 2.32 on. A process of Node never has one thread.
extern "C" {
__attribute__((visibility("hidden"))) char __libc_single_threaded = 0;
}

// glibc 2.29 gave exp a second version, which differs in how it reports errors. -Wl,--wrap=exp brings all
// calls here.
#if defined(__x86_64__)
__asm__(".symver ExpOfGlibc22, exp@GLIBC_2.2.5");
#else
__asm__(".symver ExpOfGlibc22, exp@GLIBC_2.17");
#endif
extern "C" double ExpOfGlibc22(double x);
extern "C" double __wrap_exp(double x) { return ExpOfGlibc22(x); }
