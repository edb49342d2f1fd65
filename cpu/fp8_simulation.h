// What fp8 would give on a GPU, computed in fp32: slow, but as accurate (engine/fp8.h). And the ranges that
// fp8 is calibrated with.
#pragma once

#include "cpu/maps.h"
#include "cpu/thread_pool.h"
#include "engine/fp8.h"

namespace repvgg::cpu {

// The block with the values that its weights in fp8 stand for. Its scale is that of QuantizeBlock, which the
// weights have in them.
QuantizedBlock SimulateFp8(const NetworkShape& shape, size_t index, const DeployBlock& block);

// Rounds the maps of so many images to e4m3.
void RoundMaps(ThreadPool& pool, const Fp32Maps& maps, int images);

// Raises `ranges`, [channels], to the largest value of each channel.
void NoteRanges(const Fp32Maps& maps, int images, float* ranges);

}  // namespace repvgg::cpu
