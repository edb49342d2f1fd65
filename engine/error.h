#pragma once

#include <stdexcept>
#include <string>
#include <string_view>

namespace repvgg {

// An error that has a name in ts/errors.ts. Anything else that the engine throws is a bug.
class Error : public std::runtime_error {
 public:
  Error(const char* code, const std::string& message) : std::runtime_error(message), code_(code) {}
  std::string_view code() const { return code_; }

 private:
  const char* code_;  // A string literal.
};

inline constexpr const char* kAborted = "ABORT_ERR";

}  // namespace repvgg
