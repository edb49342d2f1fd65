#include "cpu/limits.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdint>
#include <cstring>
#include <ctime>
#include <memory>
#include <vector>

#include "cpu/amx_tiles.h"
#include "cpu/bf16_kernels.h"
#include "cpu/kernels.h"
#include "cpu/thread_pool.h"

#if defined(__x86_64__) && defined(__linux__) && (defined(__clang__) || __GNUC__ >= 11)
#define REPVGG_BF16
#include <immintrin.h>
#endif

namespace repvgg::cpu {
namespace {

// Independent accumulators: enough to hide the latency of multiply-adds on two ports (8 to 10 needed), few
// enough for the 16 registers of AVX2.
constexpr int kSums = 12;
constexpr int kSteps = 4096;

// One function per instruction set: kSteps multiply-adds on each accumulator. They start with different
// values, or the compiler would compute only one. A macro, since a target attribute cannot depend on a
// template parameter.
#define REPVGG_FMA_LOOP(name, attributes, lanes)                                      \
  typedef float name##Vector __attribute__((vector_size(lanes * sizeof(float))));     \
  attributes void name(volatile float* value) {                                       \
    const float start = *value;                                                       \
    name##Vector sums[kSums];                                                         \
    for (int i = 0; i < kSums; ++i) sums[i] = name##Vector{} + static_cast<float>(i); \
    const name##Vector factor = name##Vector{} + start;                               \
    for (int step = 0; step < kSteps; ++step) {                                       \
      for (int i = 0; i < kSums; ++i) sums[i] = sums[i] * factor + factor;            \
    }                                                                                 \
    for (int i = 1; i < kSums; ++i) sums[0] += sums[i];                               \
    float total = 0;                                                                  \
    for (int lane = 0; lane < lanes; ++lane) total += sums[0][lane];                  \
    *value = total > 0 ? start : total;                                               \
  }

REPVGG_FMA_LOOP(BaselineFma, , 4)
#if defined(__x86_64__)
REPVGG_FMA_LOOP(Avx2Fma, __attribute__((target("avx2,fma"))), 8)
REPVGG_FMA_LOOP(Avx512Fma, __attribute__((target("avx512f,prefer-vector-width=512"))), 16)
#endif
#undef REPVGG_FMA_LOOP

struct Loop {
  void (*run)(volatile float* value);
  double operations;
};

Loop FmaLoop([[maybe_unused]] const std::string& instruction_set) {
  const auto operations = [](int lanes) { return 2.0 * kSteps * kSums * lanes; };
#if defined(__x86_64__)
  if (instruction_set == "avx512") return {Avx512Fma, operations(16)};
  if (instruction_set == "avx2") return {Avx2Fma, operations(8)};
#endif
  return {BaselineFma, operations(4)};
}

#ifdef REPVGG_BF16
// Static, so that all of it is in memory (amx_tiles.h).
const TileConfig kTileConfig;
const std::array<uint16_t, 16 * 32> kNumbers = [] {
  std::array<uint16_t, 16 * 32> numbers;
  for (size_t i = 0; i < numbers.size(); ++i) numbers[i] = 0x3f00 + i % 128;  // 0.5 to 1
  return numbers;
}();

// Each instruction multiplies a 16 x 32 by a 32 x 16 matrix of bf16.
constexpr int kTileSteps = 512;
constexpr double kTileOperations = 4.0 * kTileSteps * 2 * 16 * 16 * 32;

__attribute__((target("amx-tile,amx-bf16"))) void TileProducts(volatile float*) {
  _tile_loadconfig(&kTileConfig);
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
  _tile_loadd(4, kNumbers.data(), 64);
  _tile_loadd(5, kNumbers.data(), 64);
  _tile_loadd(6, kNumbers.data(), 64);
  _tile_loadd(7, kNumbers.data(), 64);
  for (int step = 0; step < kTileSteps; ++step) {
    _tile_dpbf16ps(0, 4, 6);
    _tile_dpbf16ps(1, 4, 7);
    _tile_dpbf16ps(2, 5, 6);
    _tile_dpbf16ps(3, 5, 7);
  }
  _tile_release();
}

// Each instruction multiplies 16 pairs by 16 pairs.
constexpr double kPairOperations = 2.0 * kSteps * kSums * 32;

__attribute__((target("avx512f,avx512bf16"))) void PairProducts(volatile float* value) {
  const float start = *value;
  __m512 sums[kSums];
  for (int i = 0; i < kSums; ++i) sums[i] = _mm512_set1_ps(static_cast<float>(i));
  const __m512bh factor = (__m512bh)_mm512_loadu_si512(kNumbers.data());
  for (int step = 0; step < kSteps; ++step) {
    for (int i = 0; i < kSums; ++i) sums[i] = _mm512_dpbf16_ps(sums[i], factor, factor);
  }
  for (int i = 1; i < kSums; ++i) sums[0] = _mm512_add_ps(sums[0], sums[i]);
  const float total = _mm512_cvtss_f32(sums[0]);
  *value = total > 0 ? start : total;
}

// By the instructions that the bf16 kernels use.
Loop Bf16Loop(const std::string& name) {
  return name == "amx" ? Loop{TileProducts, kTileOperations} : Loop{PairProducts, kPairOperations};
}
#endif

using Clock = std::chrono::steady_clock;

// In 1e9 operations or bytes per second.
struct Rate {
  double sum = 0;             // Over all threads.
  double per_cpu_second = 0;  // Of one thread, per second of its CPU time.
};

double Seconds(Clock::duration duration) { return std::chrono::duration<double>(duration).count(); }

// The CPU time of this thread.
double CpuSeconds() {
#ifdef CLOCK_THREAD_CPUTIME_ID
  timespec time{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
#else
  return Seconds(Clock::now().time_since_epoch());
#endif
}

// Runs `body` on every thread for `seconds`; each call does `amount` of work.
template <typename Body>
Rate MeasureRate(ThreadPool& pool, double seconds, double amount, const Body& body) {
  std::vector<Rate> rates(pool.threads());
  pool.Run(rates.size(), [&](const ThreadPool::Share& share) {
    const auto start = Clock::now();
    const double cpu_start = CpuSeconds();
    double done = 0;
    double elapsed = 0;
    while (elapsed < seconds) {
      body(share.thread);
      done += amount;
      elapsed = Seconds(Clock::now() - start);
    }
    const double cpu_seconds = CpuSeconds() - cpu_start;
    for (size_t i = share.begin; i < share.end; ++i) rates[i] = {done / elapsed, done / cpu_seconds};
  });
  Rate rate;
  for (const auto& [sum, per_cpu_second] : rates) {
    rate.sum += sum / 1e9;
    rate.per_cpu_second += per_cpu_second / 1e9 / static_cast<double>(rates.size());
  }
  return rate;
}

Rate LoopRate(ThreadPool& pool, double seconds, const Loop& loop) {
  return MeasureRate(pool, seconds, loop.operations, [&](int) {
    volatile float value = 0.5f;
    loop.run(&value);
  });
}

double CopyRate(ThreadPool& pool, double seconds) {
  constexpr size_t kBytes = size_t{128} << 20;  // Of the source; the destination is as large.
  const size_t share = kBytes / pool.threads();
  const std::unique_ptr<char[]> from(new char[kBytes]);
  const std::unique_ptr<char[]> to(new char[kBytes]);
  std::memset(from.get(), 1, kBytes);
  std::memset(to.get(), 2, kBytes);
  const size_t step = std::min(share, size_t{4} << 20);  // Between looks at the clock.
  std::vector<size_t> at(pool.threads());
  const Rate rate = MeasureRate(pool, seconds, 2.0 * step, [&](int thread) {
    const size_t offset = thread * share + at[thread];
    std::memcpy(&to[offset], &from[offset], step);
    at[thread] = at[thread] + 2 * step <= share ? at[thread] + step : 0;
  });
  return rate.sum;
}

}  // namespace

DeviceLimits MeasureLimits(int threads, double seconds, bool copy) {
  ThreadPool pool(threads);
  DeviceLimits limits;
  limits.instruction_set = SelectKernels("").name;
  const Rate fma = LoopRate(pool, seconds, FmaLoop(limits.instruction_set));
  limits.fma_gflops = fma.sum;
  limits.fma_per_cpu_second = fma.per_cpu_second;
#ifdef REPVGG_BF16
  if (const Bf16Kernels* const kernels = SelectBf16Kernels("")) {
    const Rate matrix = LoopRate(pool, seconds, Bf16Loop(kernels->name));
    limits.matrix_gflops = matrix.sum;
    limits.matrix_per_cpu_second = matrix.per_cpu_second;
  }
#endif
  if (copy) limits.copy_gbps = CopyRate(pool, seconds);
  return limits;
}

}  // namespace repvgg::cpu
