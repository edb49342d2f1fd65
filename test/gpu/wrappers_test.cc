// Compares the functions of cuda/ptx.cuh and cuda/ptx_sm90a.cuh with the emulator's model of them.
#include "test/gpu/wrappers.h"

#include <cmath>

#include "cuda/gemm_sm90a.h"
#include "test/emulator/planted_cluster.h"
#include "test/emulator/planted_reduction.h"
#include "test/emulator/planted_sm90a.h"
#include "test/gpu/gpu_test.h"

namespace repvgg::gpu {
namespace {

// About what gemm_sm90a.cuh's tiles take: one block per multiprocessor.
constexpr size_t kSharedBytesOfTiles = 200 << 10;

template <typename T>
T* As(const cuda::DeviceMemory& memory) {
  return static_cast<T*>(memory.get());
}

void Finish(cudaError_t launched) {
  cuda::Check(launched, "launching");
  cuda::Check(cudaDeviceSynchronize(), "running a wrapper");
}

// 16x8 by 8x8 in tf32, 16x16 by 16x8 in the others, with the fragments of the PTX ISA manual.
void RunMmaTest(Precision precision) {
  const bool tf32 = precision == Precision::kTf32;
  const int depth = tf32 ? 8 : 16;
  const std::vector<float> a = emulator::RandomNormal(16 * depth, 1, 1),
                           b = emulator::RandomNormal(depth * 8, 1, 2),
                           c = emulator::RandomNormal(16 * 8, 1, 3);
  const std::vector<double> rounded_a = Decode(Encode(a, precision), precision),
                            rounded_b = Decode(Encode(b, precision), precision);
  const auto bits = [&](float value) {
    uint32_t word = 0;
    const std::vector<unsigned char> bytes = Encode({value}, precision);
    std::memcpy(&word, bytes.data(), bytes.size());
    return word;
  };
  std::vector<uint32_t> fragment_a(128), fragment_b(64);
  std::vector<float> d(128);
  for (int lane = 0; lane < 32; ++lane) {
    const int g = lane / 4, t = lane % 4;
    for (int i = 0; i < 4; ++i) {
      const int row = g + i % 2 * 8, column = i / 2 * 8 + 2 * t;
      fragment_a[lane * 4 + i] = tf32 ? bits(a[row * 8 + t + i / 2 * 4])
                                      : bits(a[row * 16 + column]) | bits(a[row * 16 + column + 1]) << 16;
      d[lane * 4 + i] = c[(g + i / 2 * 8) * 8 + 2 * t + i % 2];
    }
    for (int i = 0; i < 2; ++i) {
      fragment_b[lane * 2 + i] =
          tf32 ? bits(b[(t + i * 4) * 8 + g])
               : bits(b[(i * 8 + 2 * t) * 8 + g]) | bits(b[(i * 8 + 2 * t + 1) * 8 + g]) << 16;
    }
  }
  const cuda::DeviceMemory device_a = UploadVector(fragment_a), device_b = UploadVector(fragment_b),
                           device_d = UploadVector(d);
  Finish(RunMma(precision, As<uint32_t>(device_a), As<uint32_t>(device_b), As<float>(device_d)));
  const std::vector<float> got = Download<float>(device_d, 128);
  std::vector<double> expected(128);
  for (int lane = 0; lane < 32; ++lane) {
    for (int i = 0; i < 4; ++i) {
      const int row = lane / 4 + i / 2 * 8, column = lane % 4 * 2 + i % 2;
      double sum = c[row * 8 + column];
      for (int k = 0; k < depth; ++k) sum += rounded_a[row * depth + k] * rounded_b[k * 8 + column];
      expected[lane * 4 + i] = sum;
    }
  }
  ExpectWithin(emulator::Compare({got.begin(), got.end()}, expected), {1e-6, 1e-5});
}

TEST("wrappers: mma") {
  if (Architecture() >= 75) RunMmaTest(Precision::kFp16);
  if (Architecture() < 80) return;
  RunMmaTest(Precision::kBf16);
  RunMmaTest(Precision::kTf32);
}

TEST("wrappers: ldmatrix") {
  if (Architecture() < 75) return;
  std::vector<uint16_t> matrices(4 * 64);
  for (size_t i = 0; i < matrices.size(); ++i) matrices[i] = static_cast<uint16_t>(i * 257 + 3);
  const cuda::DeviceMemory in = UploadVector(matrices), out = cuda::AllocateDevice(192 * 4);
  Finish(RunLdMatrix(As<uint32_t>(in), As<uint32_t>(out)));
  const std::vector<uint32_t> got = Download<uint32_t>(out, 192);
  for (int lane = 0; lane < 32; ++lane) {
    const int g = lane / 4, t = lane % 4;
    for (int m = 0; m < 4; ++m) {
      const uint16_t* const matrix = &matrices[m * 64];
      const uint32_t expected = matrix[g * 8 + 2 * t] | matrix[g * 8 + 2 * t + 1] << 16;
      if (got[lane * 6 + m] != expected) emulator::Fail("X4");
      if (m < 2 && got[lane * 6 + 4 + m] != expected) emulator::Fail("X2");
    }
  }
}

TEST("wrappers: cp.async") {
  std::vector<uint32_t> in(128);
  for (size_t i = 0; i < in.size(); ++i) in[i] = static_cast<uint32_t>(i * 2654435761u);
  const cuda::DeviceMemory device_in = UploadVector(in), out = cuda::AllocateDevice(512);
  Finish(RunCpAsync(As<uint32_t>(device_in), As<uint32_t>(out)));
  const std::vector<uint32_t> got = Download<uint32_t>(out, 128);
  for (size_t i = 0; i < in.size(); ++i) {
    if (got[i] != (i / 4 % 2 == 0 ? in[i] : 0)) emulator::Fail("word " + std::to_string(i));
  }
}

// The GEMM into which the emulator's tests plant faults, here without one.
TEST("wrappers: TMA, barriers in shared memory, wgmma, stmatrix") {
  if (Architecture() != 90 || !cuda::HasSm90aKernels() || !Try(kSm90aKernels)) return;
  constexpr int kRows = emulator::kPlantSm90aRows, kColumns = emulator::kPlantSm90aColumns;
  constexpr int kInner = emulator::kPlantSm90aInner;
  const std::vector<float> a = emulator::RandomNormal(kRows * kInner, 1, 1),
                           b = emulator::RandomNormal(kColumns * kInner, 1, 2);
  const std::vector<unsigned char> half_a = Encode(a, Precision::kFp16), half_b = Encode(b, Precision::kFp16);
  const std::vector<double> rounded_a = Decode(half_a, Precision::kFp16),
                            rounded_b = Decode(half_b, Precision::kFp16);
  const cuda::DeviceMemory device_a = UploadVector(half_a), device_b = UploadVector(half_b),
                           device_c = cuda::AllocateDevice(2 * kRows * kColumns * 2);
  Finish(emulator::LaunchPlantedSm90a(emulator::PlantSm90a::kNothing, As<cuda::Half>(device_a),
                                      As<cuda::Half>(device_b), As<cuda::Half>(device_c)));
  std::vector<double> expected;
  for (int i = 0; i < 2 * kRows * kColumns; ++i) {
    double sum = 0;
    for (int k = 0; k < kInner; ++k) {
      sum += rounded_a[i / kColumns % kRows * kInner + k] * rounded_b[i % kColumns * kInner + k];
    }
    expected.push_back(sum);
  }
  const auto got = Download<unsigned char>(device_c, 2 * kRows * kColumns * 2);
  ExpectWithin(emulator::Compare(Decode(got, Precision::kFp16), expected), {3e-4, 4e-3});
}

// If this hangs or fails, no kernel with multicast is tried.
TEST("wrappers: multicast and barriers in a cluster") {
  if (Architecture() != 90 || !cuda::HasSm90aKernels() || !Try(kMulticastKernels)) return;
  constexpr int kRows = 2 * emulator::kPlantClusterRows, kColumns = emulator::kPlantClusterColumns;
  constexpr int kInner = emulator::kPlantClusterInner;
  const std::vector<unsigned char> a = Encode(emulator::RandomNormal(kRows * kInner, 1, 1), Precision::kFp16);
  const std::vector<unsigned char> b =
      Encode(emulator::RandomNormal(kColumns * kInner, 1, 2), Precision::kFp16);
  const std::vector<double> rounded_a = Decode(a, Precision::kFp16), rounded_b = Decode(b, Precision::kFp16);
  const cuda::DeviceMemory device_a = UploadVector(a), device_b = UploadVector(b),
                           device_c = cuda::AllocateDevice(kRows * kColumns * sizeof(float));
  Finish(emulator::LaunchPlantedCluster(emulator::PlantCluster::kNothing, As<cuda::Half>(device_a),
                                        As<cuda::Half>(device_b), As<float>(device_c)));
  const std::vector<float> got = Download<float>(device_c, kRows * kColumns);
  std::vector<double> expected;
  for (int i = 0; i < kRows * kColumns; ++i) {
    double sum = 0;
    for (int k = 0; k < kInner; ++k) {
      sum += rounded_a[i / kColumns * kInner + k] * rounded_b[i % kColumns * kInner + k];
    }
    expected.push_back(sum);
  }
  const Distance distance = emulator::Compare({got.begin(), got.end()}, expected), bound = {1e-5, 1e-4};
  if (!(distance.relative_l2 <= bound.relative_l2)) Say("wrong", kMulticastKernels);
  ExpectWithin(distance, bound);
}

// If this fails, networks are slower but correct.
TEST("wrappers: kernels may start before the ones ahead of them end") {
  int driver = 0;
  cuda::Check(cudaDriverGetVersion(&driver), "asking for the driver's version");
  if (Architecture() == 90 && driver >= 12030 && !MayOverlap()) emulator::Fail("they may not");
}

// If this hangs or fails, kernels run one after the other.
TEST("wrappers: kernels that start early wait for all before them") {
  if (Architecture() != 90 || !MayOverlap()) return;
  constexpr uint32_t kRounds = 8;  // In a stream, and as many in a graph.
  const cuda::DeviceMemory values = UploadVector(std::vector<uint32_t>(2 * kRelayValues)),
                           counts = UploadVector(std::vector<uint32_t>(8));
  const cuda::Stream stream = cuda::MakeStream();
  // `counts` are *begun, *early, those of the stream and those of the graph.
  const auto enqueue = [&](uint32_t first, int stale) {
    for (uint32_t round = first; round < first + kRounds; ++round) {
      const Relay relay = {As<uint32_t>(values), As<uint32_t>(values) + kRelayValues, As<uint32_t>(counts),
                           As<uint32_t>(counts) + 1, As<uint32_t>(counts) + stale};
      cuda::Check(RunRelay(relay, round, stream.get()), "launching");
    }
  };
  Say("running", "overlap");
  enqueue(1, 2);
  const cuda::Graph graph = cuda::CaptureGraph(stream.get(), [&] { enqueue(1 + kRounds, 5); });
  cuda::Check(cudaGraphLaunch(graph.get(), stream.get()), "launching a graph");
  cuda::Check(cudaStreamSynchronize(stream.get()), "running overlapped kernels");
  const auto got = Download<uint32_t>(counts, 8);
  emulator::Note("the third began before the first ended in " + std::to_string(got[1]) + " of " +
                 std::to_string(2 * kRounds) + " rounds");
  for (int i = 2; i < 8; ++i) {
    if (got[i] == 0) continue;
    Say("wrong", "overlap");
    const char* const of[] = {"of the first, read by the second", "of the first, read by the third",
                              "of the second, read by the third"};
    return emulator::Fail(std::to_string(got[i]) + " values " + of[(i - 2) % 3] +
                          " kernel, are another round's, " + (i < 5 ? "in a stream" : "in a graph"));
  }
}

// Cluster sizes that the device does not run are left out.
TEST("wrappers: clusters of each size of split reductions") {
  if (Architecture() != 90 || !cuda::HasSm90aKernels() || !Try("sm90a cluster")) return;
  const cuda::DeviceMemory out = cuda::AllocateDevice(sizeof(float) * kLargestCluster * kLargestCluster);
  std::string fitting, refused;
  for (const int blocks : {2, 3, 4, 6, 8}) {
    const std::string kernels = "sm90a cluster " + std::to_string(blocks);
    if (!Try(kernels)) continue;
    int fit = 0;
    const cudaError_t error = RunCluster(blocks, kSharedBytesOfTiles, As<float>(out), &fit);
    if (error != cudaSuccess) {
      cudaGetLastError();
      Say("wrong", kernels);
      refused +=
          (refused.empty() ? "" : ", ") + std::to_string(blocks) + " blocks: " + cudaGetErrorName(error);
      continue;
    }
    cuda::Check(cudaDeviceSynchronize(), "running a cluster");
    const std::vector<float> got = Download<float>(out, kLargestCluster * kLargestCluster);
    for (int i = 0; i < blocks * blocks; ++i) {
      const int reader = i / blocks, from = i % blocks;
      if (got[reader * kLargestCluster + from] == static_cast<float>(1 + from)) continue;
      Say("wrong", kernels);
      return emulator::Fail("block " + std::to_string(reader) + " of " + std::to_string(blocks) +
                            " does not read block " + std::to_string(from));
    }
    fitting +=
        (fitting.empty() ? "at a time: " : ", ") + std::to_string(fit) + " of " + std::to_string(blocks);
  }
  if (!refused.empty()) emulator::Fail(refused);
  emulator::Note(fitting);
}

// If this hangs or fails, no reduction is split in a cluster.
TEST("wrappers: memory of other blocks of a cluster") {
  if (Architecture() != 90 || !cuda::HasSm90aKernels() || !Try("sm90a cluster")) return;
  constexpr int kValues = emulator::kPlantReductionValues, kBlocks = emulator::kPlantReductionBlocks;
  const std::vector<float> in = emulator::RandomNormal(kBlocks * kValues, 1, 1);
  const cuda::DeviceMemory device_in = UploadVector(in), out = cuda::AllocateDevice(sizeof(float) * kValues);
  Finish(emulator::LaunchPlantedReduction(emulator::PlantReduction::kNothing, As<float>(device_in),
                                          As<float>(out)));
  const std::vector<float> got = Download<float>(out, kValues);
  for (int i = 0; i < kValues; ++i) {
    float sum = 0;
    for (int block = 0; block < kBlocks; ++block) sum += in[block * kValues + i];
    if (got[i] == sum) continue;
    Say("wrong", "sm90a cluster");
    return emulator::Fail("sum " + std::to_string(i));
  }
}

TEST("wrappers: conversions and shuffles") {
  std::vector<float> values = emulator::RandomNormal(1 << 16, 100, 7);
  // All magnitudes, including fp16 subnormals and overflow.
  for (size_t i = 0; i < values.size(); i += 2)
    values[i] = std::ldexp(values[i], static_cast<int>(i / 2 % 60) - 30);
  const cuda::DeviceMemory in = UploadVector(values);
  const cuda::DeviceMemory out = cuda::AllocateDevice(values.size() * sizeof(Converted));
  Finish(RunConvert(As<float>(in), As<Converted>(out), static_cast<int>(values.size() / 32)));
  const auto got = Download<Converted>(out, values.size());
  for (size_t i = 0; i < values.size(); ++i) {
    const float value = values[i];
    const uint32_t half = emulator::FloatToHalf(value), bfloat16 = emulator::FloatToBFloat16(value);
    if (got[i].half != half || got[i].half_pair != (half | (half ^ 0x8000) << 16)) emulator::Fail("half");
    if (got[i].bfloat16 != bfloat16 || got[i].bfloat16_pair != (bfloat16 | (bfloat16 ^ 0x8000) << 16)) {
      emulator::Fail("bfloat16");
    }
    if (Has(Precision::kFp8)) {
      const uint32_t low = cuda::FormatBits(value, Precision::kFp8);
      if (got[i].fp8_pair != (low | (low ^ 0x80) << 8)) emulator::Fail("fp8");
    }
    if (Architecture() >= 80 && got[i].tf32 != emulator::FloatToTf32(value)) emulator::Fail("tf32");
    if (got[i].shuffled != values[i ^ 5]) emulator::Fail("shuffle");
  }
}

}  // namespace
}  // namespace repvgg::gpu
