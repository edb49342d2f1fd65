// Prints the CPU quota that is found below the folder in the argument.
#include <cstdio>

#include "engine/usable_cores.h"

int main(int, char** arguments) { std::printf("%g", repvgg::CpuQuota(arguments[1])); }
