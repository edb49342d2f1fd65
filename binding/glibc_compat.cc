// Lets release binaries, which are linked against an older glibc (REPVGG_GLIBC_SYSROOT), run with it.

// libstdc++ 12 reads this to skip atomic reference counting in single-threaded processes, which Node's never
// are. glibc defines it only since 2.32.
extern "C" {
__attribute__((visibility("hidden"))) char __libc_single_threaded = 0;
}

// glibc 2.29 added a version of exp that differs only in error reporting. -Wl,--wrap=exp redirects all calls
// here.
#if defined(__x86_64__)
__asm__(".symver ExpOfGlibc22, exp@GLIBC_2.2.5");
#else
__asm__(".symver ExpOfGlibc22, exp@GLIBC_2.17");
#endif
extern "C" double ExpOfGlibc22(double x);
extern "C" double __wrap_exp(double x) { return ExpOfGlibc22(x); }
