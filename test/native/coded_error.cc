// Prints the codes and messages of exceptions as JavaScript gets them.
#include "binding/coded_error.h"

#include <cstdio>
#include <new>
#include <stdexcept>
#include <system_error>

#include "engine/error.h"

template <class Exception>
void Print(const Exception& thrown) {
  try {
    throw thrown;
  } catch (const std::exception& error) {
    const repvgg::CodedError coded = repvgg::DescribeError(error);
    std::printf("%s %s\n", coded.code.c_str(), coded.message.c_str());
  }
}

std::system_error SystemError(std::errc code) {
  return std::system_error(std::make_error_code(code), "what");
}

int main() {
  Print(repvgg::Error("ERR_DEVICE_LOST", "It is gone."));
  Print(std::bad_alloc());
  Print(std::bad_array_new_length());
  Print(SystemError(std::errc::resource_unavailable_try_again));
  Print(SystemError(std::errc::not_enough_memory));
  Print(SystemError(std::errc::permission_denied));
  Print(std::length_error("vector"));
  Print(std::runtime_error("oops"));
}
