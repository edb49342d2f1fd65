// A run of a network from beginning to end, for the tests in the emulator and on a GPU.
#pragma once

#include <exception>
#include <future>

#include "engine/backend.h"

namespace repvgg {

// Throws what the run failed with.
inline void RunAndWait(Network& network, const ImageBatch& batch, const Results& results,
                       const Cancelled& cancelled) {
  std::promise<void> over;
  network.Run(batch, results, cancelled, [&](const std::exception_ptr& error) {
    if (error)
      over.set_exception(error);
    else
      over.set_value();
  });
  over.get_future().get();
}

}  // namespace repvgg
