#pragma once

#include "cpu/fp32_convolution.h"
#include "cpu/kernels.h"
#include "cpu/packed_convolution.h"
#include "cpu/row_pieces.h"
#include "engine/network.h"

namespace repvgg::cpu {

// Direct convolution of any stride: 3x3 with padding 1, or 1x1.
class Fp32Direct : public Fp32Convolution {
 public:
  // Zeros in the layout of this algorithm, for PackWeights to fill. `width` is that of the output maps, and
  // `taps` 9 or 1.
  static PackedConvolution MakePacked(const KernelTable& kernels, const BlockShape& block, int width,
                                      int taps);

  // With weights already packed. An empty bias means zeros.
  Fp32Direct(const KernelTable& kernels, const BlockShape& block, int width, PackedConvolution packed,
             Floats bias);

  // `weight` is [out_channels][in_channels / groups][taps].
  Fp32Direct(const KernelTable& kernels, const BlockShape& block, int width, int taps, Floats weight,
             Floats bias);

  void Run(ThreadPool& pool, int images, const Fp32Maps& in, const Fp32Maps& out, bool relu) const override;

 private:
  void RunPieces(const RowPieces& pieces, size_t block, size_t first, size_t last, ptrdiff_t in_row,
                 bool relu) const;

  const BlockKernels& blocks_;
  PackedConvolution packed_;
};

}  // namespace repvgg::cpu
