#pragma once

#include <exception>
#include <string>

namespace repvgg {

// An exception as JavaScript sees it. An empty `code` means no error.
struct CodedError {
  std::string code;
  std::string message;
};

// An Error has its own code. Of the standard library's exceptions, those for memory and threads that the
// system refused are ERR_OUT_OF_MEMORY. Any other is a mistake of ours: ERR_INTERNAL.
CodedError DescribeError(const std::exception& error);

}  // namespace repvgg
