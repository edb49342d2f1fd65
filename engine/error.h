#pragma once

#include <stdexcept>
#include <string>
#include <string_view>

namespace repvgg {

// An error with one of the codes of ts/errors.ts. binding/coded_error.h has what becomes of other exceptions.
class Error : public std::runtime_error {
 public:
  Error(const char* code, const std::string& message) : std::runtime_error(message), code_(code) {}
  std::string_view code() const { return code_; }

 private:
  const char* code_;  // A string literal.
};

inline constexpr const char* kAborted = "ABORT_ERR";

}  // namespace repvgg
