#include "test/emulator/warp_operations.h"

#include <cstring>

#include "test/emulator/formats.h"

namespace repvgg::emulator {
namespace {

// d = a * b + c, d and c spread over the lanes.
template <int kInner>
void MultiplyTiles(Warp& warp, const float (&a)[16][kInner], const float (&b)[kInner][8]) {
  float d[16][8] = {};
  for (int m = 0; m < 16; ++m) {
    for (int k = 0; k < kInner; ++k) {
      for (int n = 0; n < 8; ++n) d[m][n] += a[m][k] * b[k][n];
    }
  }
  for (int lane = 0; lane < kWarp; ++lane) {
    const int g = lane / 4, t = lane % 4;
    for (int e = 0; e < 4; ++e) {
      warp.out.mma[lane].d[e] = warp.in.mma[lane].c[e] + d[g + e / 2 * 8][2 * t + e % 2];
    }
  }
}

template <float (*kConvert)(uint16_t)>
void Multiply16(Warp& warp) {
  uint16_t a_bits[16 * 16], b_bits[16 * 8];
  for (int lane = 0; lane < kWarp; ++lane) {
    const int g = lane / 4, t = lane % 4;
    const MmaOperands& in = warp.in.mma[lane];
    for (int r = 0; r < 4; ++r) std::memcpy(&a_bits[(g + r % 2 * 8) * 16 + 2 * t + r / 2 * 8], &in.a[r], 4);
    for (int r = 0; r < 2; ++r) {
      b_bits[(2 * t + r * 8) * 8 + g] = static_cast<uint16_t>(in.b[r]);
      b_bits[(2 * t + r * 8 + 1) * 8 + g] = static_cast<uint16_t>(in.b[r] >> 16);
    }
  }
  float a[16][16], b[16][8];
  for (int i = 0; i < 16 * 16; ++i) a[i / 16][i % 16] = kConvert(a_bits[i]);
  for (int i = 0; i < 16 * 8; ++i) b[i / 8][i % 8] = kConvert(b_bits[i]);
  MultiplyTiles(warp, a, b);
}

void MultiplyTf32(Warp& warp) {
  // Tensor cores do not look at the 13 lowest bits.
  const auto truncate = [](uint32_t bits) { return BitsToFloat(bits & ~0x1fffu); };
  float a[16][8], b[8][8];
  for (int lane = 0; lane < kWarp; ++lane) {
    const int g = lane / 4, t = lane % 4;
    const MmaOperands& in = warp.in.mma[lane];
    for (int r = 0; r < 4; ++r) a[g + r % 2 * 8][t + r / 2 * 4] = truncate(in.a[r]);
    for (int r = 0; r < 2; ++r) b[t + r * 4][g] = truncate(in.b[r]);
  }
  MultiplyTiles(warp, a, b);
}

// Lanes of a wmma load or store must agree on the matrix.
void ShareAddress(const void* first) {
  Together(
      WarpOperation::kWmma, ~0u, [&](Warp& warp, int lane) { warp.in.matrix[lane] = first; },
      [](Warp& warp) {
        for (const void* matrix : warp.in.matrix) {
          if (matrix != warp.in.matrix[0])
            Complain(Fault::kDivergence, nullptr, "lanes give wmma different matrices");
        }
      });
}

}  // namespace

void WarpBarrier(unsigned mask) {
  Together(
      WarpOperation::kBarrier, mask, [](Warp&, int) {},
      [](Warp& warp) {
        const int number = worker->current->thread / kWarp;
        warp.synced = ++worker->clocks[number].of[number];
      });
}

uint32_t ShuffleXor(unsigned mask, uint32_t value, int lane_mask) {
  Together(
      WarpOperation::kShuffle, mask, [&](Warp& warp, int lane) { warp.in.value[lane] = value; },
      [](Warp& warp) { std::memcpy(warp.out.value, warp.in.value, sizeof warp.out.value); });
  return worker->warp().out.value[(worker->lane() ^ lane_mask) & (kWarp - 1)];
}

// Each lane reads its row itself: where lanes of a warp are in different operations, what the others have
// left is no address.
Words4 LoadMatrices(const void* row, int count) {
  Words4 own = {};
  if (worker->lane() < 8 * count) {
    if (reinterpret_cast<uintptr_t>(row) % 16 != 0) {
      Complain(Fault::kMisaligned, HERE, "ldmatrix of a row that is not aligned to 16 bytes");
    }
    CheckAccess(row, 16, false, HERE);
    std::memcpy(&own, row, sizeof own);
  }
  Together(
      WarpOperation::kLoadMatrices, ~0u, [&](Warp& warp, int lane) { warp.in.row[lane] = own; },
      [&](Warp& warp) {
        for (int lane = 0; lane < kWarp; ++lane) {
          for (int i = 0; i < count; ++i) {
            warp.out.words[lane].word[i] = warp.in.row[8 * i + lane / 4].word[lane % 4];
          }
        }
      });
  return worker->warp().out.words[worker->lane()];
}

// Each lane writes its row itself, as the hardware does.
void StoreMatrices(void* row, Words4 values, int count) {
  Together(
      WarpOperation::kStoreMatrices, ~0u, [&](Warp& warp, int lane) { warp.in.row[lane] = values; },
      [&](Warp& warp) {
        for (int lane = 0; lane < 8 * count; ++lane) {
          for (int t = 0; t < 4; ++t) {
            warp.out.words[lane].word[t] = warp.in.row[lane % 8 * 4 + t].word[lane / 8];
          }
        }
      });
  if (worker->lane() >= 8 * count) return;
  if (reinterpret_cast<uintptr_t>(row) % 16 != 0) {
    Complain(Fault::kMisaligned, HERE, "stmatrix of a row that is not aligned to 16 bytes");
  }
  CheckAccess(row, 16, true, HERE);
  std::memcpy(row, &worker->warp().out.words[worker->lane()], 16);
}

MmaResult MultiplyMatrices(MmaType type, MmaOperands operands) {
  Together(
      WarpOperation::kMma, ~0u, [&](Warp& warp, int lane) { warp.in.mma[lane] = operands; },
      [&](Warp& warp) {
        switch (type) {
          case MmaType::kHalf:
            return Multiply16<HalfToFloat>(warp);
          case MmaType::kBFloat16:
            return Multiply16<BFloat16ToFloat>(warp);
          case MmaType::kTf32:
            return MultiplyTf32(warp);
          case MmaType::kFp8:
            return;  // By wgmma only.
        }
      });
  return worker->warp().out.mma[worker->lane()];
}

MatrixPart LoadMatrixPart(const void* first, int pitch_bytes) {
  if (reinterpret_cast<uintptr_t>(first) % 32 != 0 || pitch_bytes % 16 != 0) {
    Complain(Fault::kMisaligned, HERE, "matrix of wmma");
  }
  const int lane = worker->lane();
  const unsigned char* const own =
      static_cast<const unsigned char*>(first) + lane / 2 * pitch_bytes + lane % 2 * 16;
  CheckAccess(own, 16, false, HERE);
  ShareAddress(first);
  MatrixPart part;
  std::memcpy(&part, own, sizeof part);
  return part;
}

SumPart MultiplyParts(MatrixPart pixels, MatrixPart weights, SumPart sum) {
  Together(
      WarpOperation::kWmma, ~0u, [&](Warp& warp, int lane) { warp.in.wmma[lane] = {pixels, weights, sum}; },
      [](Warp& warp) {
        float a[16][16], b[16][16];
        for (int lane = 0; lane < kWarp; ++lane) {
          for (int i = 0; i < 8; ++i) {
            const auto half = [&](const MatrixPart& part) {
              return HalfToFloat(static_cast<uint16_t>(part.word[i / 2] >> (i % 2 * 16)));
            };
            a[lane / 2][lane % 2 * 8 + i] = half(warp.in.wmma[lane].pixels);
            b[lane % 2 * 8 + i][lane / 2] = half(warp.in.wmma[lane].weights);  // Columns lie in rows.
          }
        }
        float d[16][16] = {};
        for (int m = 0; m < 16; ++m) {
          for (int k = 0; k < 16; ++k) {
            for (int n = 0; n < 16; ++n) d[m][n] += a[m][k] * b[k][n];
          }
        }
        for (int lane = 0; lane < kWarp; ++lane) {
          for (int i = 0; i < 8; ++i) {
            warp.out.wmma[lane].value[i] = warp.in.wmma[lane].sum.value[i] + d[lane / 2][lane % 2 * 8 + i];
          }
        }
      });
  return worker->warp().out.wmma[worker->lane()];
}

void StoreSumPart(float* first, SumPart sum, int pitch) {
  if (reinterpret_cast<uintptr_t>(first) % 32 != 0 || pitch % 4 != 0) {
    Complain(Fault::kMisaligned, HERE, "matrix of wmma");
  }
  const int lane = worker->lane();
  float* const own = first + lane / 2 * pitch + lane % 2 * 8;
  CheckAccess(own, sizeof sum, true, HERE);
  ShareAddress(first);
  std::memcpy(own, &sum, sizeof sum);
}

void CopyAsync(void* shared, const void* global, int bytes, bool valid) {
  Fiber& fiber = *worker->current;
  BeginCopy(static_cast<unsigned char*>(shared), global, bytes, valid, HERE);
  fiber.copies.push_back({static_cast<unsigned char*>(shared), global, bytes, valid, fiber.copy_group});
}

void CommitCopies() { ++worker->current->copy_group; }

void WaitCopies(int pending) {
  Fiber& fiber = *worker->current;
  size_t done = 0;
  while (done < fiber.copies.size() &&
         static_cast<int>(fiber.copy_group - fiber.copies[done].group) > pending) {
    EndCopy(fiber.copies[done++]);
  }
  fiber.copies.erase(fiber.copies.begin(), fiber.copies.begin() + done);
}

}  // namespace repvgg::emulator
