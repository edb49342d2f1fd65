#include "binding/coded_error.h"

#include <new>
#include <system_error>

#include "engine/error.h"

namespace repvgg {

CodedError DescribeError(const std::exception& error) {
  if (const auto* coded = dynamic_cast<const Error*>(&error))
    return {std::string(coded->code()), coded->what()};
  if (dynamic_cast<const std::bad_alloc*>(&error) != nullptr)
    return {"ERR_OUT_OF_MEMORY", "Not enough memory."};
  const std::string what = error.what();
  if (const auto* refused = dynamic_cast<const std::system_error*>(&error)) {
    // What std::thread throws where there is no memory for a stack, or a limit of threads is reached.
    if (refused->code() == std::errc::resource_unavailable_try_again ||
        refused->code() == std::errc::not_enough_memory)
      return {"ERR_OUT_OF_MEMORY", "The system refused a resource: " + what + "."};
  }
  return {"ERR_INTERNAL", "Unexpected error of the engine: " + what + "."};
}

}  // namespace repvgg
