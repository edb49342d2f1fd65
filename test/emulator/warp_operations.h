// Operations of a whole warp: every lane leaves its operands, the last to arrive computes all results.
#pragma once

#include "test/emulator/fiber.h"

namespace repvgg::emulator {

template <typename Leave, typename Compute>
void Together(WarpOperation operation, unsigned mask, Leave leave, Compute compute) {
  Worker& w = *worker;
  Warp& warp = w.warp();
  if (mask != ~0u) Complain(Fault::kDivergence, HERE, "warp operation with a partial mask");
  if (warp.arrived == 0) {
    warp.operation = operation;
  } else if (warp.operation != operation) {
    Complain(Fault::kDivergence, HERE, "lanes of a warp are in different operations");
    warp.operation = WarpOperation::kNone;  // Whose operands are of different kinds.
  }
  leave(warp, w.lane());
  if (++warp.arrived < kWarp) {
    warp.ready &= ~(1u << w.lane());
    w.Block();
    return;
  }
  warp.arrived = 0;
  warp.ready = ~0u;
  if (warp.operation == operation) compute(warp);
}

}  // namespace repvgg::emulator
