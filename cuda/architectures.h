#pragma once

#include <string>

namespace repvgg {

// Whether kernels compiled for `architectures`, a list of CMake's CUDA_ARCHITECTURES entries ("80-real,
// 90a-real, 90-virtual"), run on `architecture` (90 for 9.0).
bool HasKernels(const std::string& architectures, int architecture);

}  // namespace repvgg
