// Simulates fp8 (engine/fp8.h) in fp32: slow, but as accurate as fp8 on a GPU. Also records the ranges for
// calibration.
#pragma once

#include "cpu/maps.h"
#include "cpu/thread_pool.h"
#include "engine/fp8.h"

namespace repvgg::cpu {

// The block with its weights rounded to fp8 and multiplied by their scales. `scale` is still that of
// QuantizeBlock.
QuantizedBlock SimulateFp8(const NetworkShape& shape, size_t index, const DeployBlock& block);

// Rounds the maps of `images` images to e4m3.
void RoundMaps(ThreadPool& pool, const Fp32Maps& maps, int images);

// Raises `ranges`, [channels], to the largest value of each channel.
void NoteRanges(const Fp32Maps& maps, int images, float* ranges);

}  // namespace repvgg::cpu
