#pragma once

#include <string>

namespace repvgg {

// Whether kernels compiled for `architectures`, a list of CMake's CUDA_ARCHITECTURES entries ("80-real,
// 90a-real, 90-virtual"), run on `architecture` (90 for 9.0) with the instructions that it is expected to
// have: compiled for an older generation of tensor cores, some have no body.
bool HasKernels(const std::string& architectures, int architecture);

}  // namespace repvgg
