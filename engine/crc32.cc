#include "engine/crc32.h"

// After Gopal et al., "Fast CRC Computation for Generic Polynomials Using PCLMULQDQ Instruction" (Intel,
// 2009). A message is a polynomial over GF(2), and its CRC the remainder modulo a polynomial of degree 32. A
// 16-byte block followed by n bits stands for itself times x^n, which is congruent to itself times (x^n
// modulo the polynomial): this product is short enough to be added to the block that lies n bits further on.
// Folding like this reduces the message to 16 bytes, whose CRC, like that of the last few bytes, comes from
// tables. Processors without such instructions take all from tables, eight bytes at a time ("slicing-by-8",
// Kounavis and Berry, 2005).

#include <array>
#include <bit>
#include <cstring>

#ifdef __x86_64__
#include <immintrin.h>
#endif

namespace repvgg {

namespace {

constexpr uint32_t kPolynomial = 0xedb88320;  // Bit-reflected, without x^32: bit 31 is x^0.

// a * b modulo the polynomial.
uint32_t Multiply(uint32_t a, uint32_t b) {
  uint32_t product = 0;
  for (uint32_t bit = 0x80000000; bit != 0; bit >>= 1) {
    if (a & bit) product ^= b;
    b = (b >> 1) ^ ((b & 1) ? kPolynomial : 0);
  }
  return product;
}

// kTables[n][byte]: the remainder of a byte with n bytes of zeros behind it.
constexpr auto kTables = [] {
  std::array<std::array<uint32_t, 256>, 8> tables = {};
  for (uint32_t byte = 0; byte < 256; ++byte) {
    uint32_t state = byte;
    for (int n = 0; n < 8; ++n) {
      for (int bit = 0; bit < 8; ++bit) state = (state >> 1) ^ ((state & 1) ? kPolynomial : 0);
      tables[n][byte] = state;
    }
  }
  return tables;
}();

uint32_t UpdateByTables(uint32_t state, const uint8_t* bytes, size_t count) {
  static_assert(std::endian::native == std::endian::little);
  for (; count >= 8; bytes += 8, count -= 8) {
    uint64_t eight;
    std::memcpy(&eight, bytes, 8);
    eight ^= state;
    state = 0;
    for (int i = 0; i < 8; ++i) state ^= kTables[7 - i][eight >> (8 * i) & 0xff];
  }
  for (; count > 0; ++bytes, --count) state = (state >> 8) ^ kTables[0][(state ^ *bytes) & 0xff];
  return state;
}

}  // namespace

// Appending `count` bytes multiplies what comes before by x^(8 count). The initial and final inversions of
// both checksums cancel out.
uint32_t JoinCrc32(uint32_t before, uint32_t behind, uint64_t count) {
  uint32_t power = 0x80000000 >> 8;  // x^8: one byte.
  for (; count > 0; count >>= 1) {
    if (count & 1) before = Multiply(before, power);
    power = Multiply(power, power);
  }
  return before ^ behind;
}

#ifdef __x86_64__
namespace {

// x^n modulo the polynomial. Shifted by one, since carry-less products of bit-reflected operands are.
constexpr int64_t PowerOfX(int n) {
  uint32_t power = 0x80000000;
  for (int i = 0; i < n; ++i) power = (power >> 1) ^ ((power & 1) ? kPolynomial : 0);
  return static_cast<int64_t>(power) << 1;
}

template <int distance>
constexpr int64_t kLow = PowerOfX(distance + 32);
template <int distance>
constexpr int64_t kHigh = PowerOfX(distance - 32);

// Folds 16 bytes into those that lie `distance` bits further on.
template <int distance>
__attribute__((target("pclmul,sse4.1"))) inline __m128i Fold(__m128i bytes, __m128i further) {
  const __m128i powers = _mm_set_epi64x(kHigh<distance>, kLow<distance>);
  return _mm_xor_si128(
      _mm_xor_si128(_mm_clmulepi64_si128(bytes, powers, 0x00), _mm_clmulepi64_si128(bytes, powers, 0x11)),
      further);
}

__attribute__((target("pclmul,sse4.1"))) inline __m128i Load(const uint8_t* from) {
  return _mm_loadu_si128(reinterpret_cast<const __m128i*>(from));
}

// The same for four blocks of 16 bytes at once.
template <int distance>
__attribute__((target("vpclmulqdq,avx512f"))) inline __m512i Fold(__m512i bytes, __m512i further) {
  const __m512i powers = _mm512_set4_epi64(kHigh<distance>, kLow<distance>, kHigh<distance>, kLow<distance>);
  constexpr int kXorOfThree = 0x96;
  return _mm512_ternarylogic_epi64(_mm512_clmulepi64_epi128(bytes, powers, 0x00),
                                   _mm512_clmulepi64_epi128(bytes, powers, 0x11), further, kXorOfThree);
}

// Folds `count` bytes, a multiple of 256, into the last 64.
__attribute__((target("vpclmulqdq,avx512f"))) void FoldMany(__m128i state, const uint8_t* bytes, size_t count,
                                                            __m128i* last) {
  __m512i a = _mm512_xor_si512(_mm512_loadu_si512(bytes), _mm512_zextsi128_si512(state));
  __m512i b = _mm512_loadu_si512(bytes + 64);
  __m512i c = _mm512_loadu_si512(bytes + 128);
  __m512i d = _mm512_loadu_si512(bytes + 192);
  for (const uint8_t* const end = bytes + count; (bytes += 256) < end;) {
    a = Fold<2048>(a, _mm512_loadu_si512(bytes));
    b = Fold<2048>(b, _mm512_loadu_si512(bytes + 64));
    c = Fold<2048>(c, _mm512_loadu_si512(bytes + 128));
    d = Fold<2048>(d, _mm512_loadu_si512(bytes + 192));
  }
  _mm512_storeu_si512(last, Fold<512>(Fold<512>(Fold<512>(a, b), c), d));
}

// The state after `count` bytes, 64 or more, of which it leaves less than 64.
__attribute__((target("pclmul,sse4.1"))) uint32_t FoldAll(uint32_t state, const uint8_t*& bytes,
                                                          size_t& count, bool wide) {
  const __m128i start = _mm_cvtsi32_si128(static_cast<int>(state));
  // Four independent accumulators hide the latency of the multiplication.
  __m128i last[4];
  size_t done = 64;
  if (wide && count >= 256) {
    done = count / 256 * 256;
    FoldMany(start, bytes, done, last);
  } else {
    for (int i = 0; i < 4; ++i) last[i] = Load(bytes + 16 * i);
    last[0] = _mm_xor_si128(last[0], start);
  }
  for (bytes += done, count -= done; count >= 64; bytes += 64, count -= 64) {
    for (int i = 0; i < 4; ++i) last[i] = Fold<512>(last[i], Load(bytes + 16 * i));
  }
  uint8_t left[16];
  const __m128i sum = Fold<128>(Fold<128>(Fold<128>(last[0], last[1]), last[2]), last[3]);
  std::memcpy(left, &sum, sizeof left);
  return UpdateByTables(0, left, sizeof left);
}

}  // namespace

int CarrylessBits() {
  static const int bits = [] {
    if (!__builtin_cpu_supports("pclmul") || !__builtin_cpu_supports("sse4.1")) return 0;
    return __builtin_cpu_supports("vpclmulqdq") && __builtin_cpu_supports("avx512f") ? 512 : 128;
  }();
  return bits;
}

#else
int CarrylessBits() { return 0; }
#endif

uint32_t Crc32(uint32_t before, const uint8_t* bytes, size_t count, [[maybe_unused]] int bits) {
  uint32_t state = ~before;
#ifdef __x86_64__
  if (bits > 0 && count >= 64) state = FoldAll(state, bytes, count, bits == 512);
#endif
  return ~UpdateByTables(state, bytes, count);
}

}  // namespace repvgg
