#pragma once

#include <string>

namespace repvgg {

// Whether kernels compiled for `architectures`, entries of CMake's CUDA_ARCHITECTURES ("80-real, 90a-real,
// 90-virtual"), run on `architecture` (90).
bool HasKernels(const std::string& architectures, int architecture);

}  // namespace repvgg
