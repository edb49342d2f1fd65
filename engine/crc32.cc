#include "engine/crc32.h"

// After "Fast CRC Computation for Generic Polynomials Using PCLMULQDQ Instruction" (Gopal and others, Intel,
// 2009). Bytes are a polynomial over the field of two elements, of which the checksum is the remainder by
// another of degree 32. Sixteen of them times a power of x are congruent to what that power leaves as a
// remainder times them, so they can be added to bytes further on; what is left at the end has few.

#ifdef __x86_64__
#include <immintrin.h>

#include <cstring>
#endif

namespace repvgg {

namespace {

constexpr uint32_t kPolynomial = 0xedb88320;  // Without x^32; the lowest bit is the highest power.

// The remainder of the product of two polynomials.
uint32_t Multiply(uint32_t a, uint32_t b) {
  uint32_t product = 0;
  for (uint32_t bit = 0x80000000; bit != 0; bit >>= 1) {
    if (a & bit) product ^= b;
    b = (b >> 1) ^ ((b & 1) ? kPolynomial : 0);
  }
  return product;
}

}  // namespace

// Bytes behind others multiply these by a power of x. What is inverted at the ends of both cancels out.
uint32_t JoinCrc32(uint32_t before, uint32_t behind, uint64_t count) {
  uint32_t power = 0x80000000 >> 8;  // x^8, for a byte.
  for (; count > 0; count >>= 1) {
    if (count & 1) before = Multiply(before, power);
    power = Multiply(power, power);
  }
  return before ^ behind;
}

#ifdef __x86_64__
namespace {

// x^n modulo the polynomial, for carry-less products, which are shifted by one in this order of bits.
constexpr int64_t PowerOfX(int n) {
  uint32_t power = 0x80000000;
  for (int i = 0; i < n; ++i) power = (power >> 1) ^ ((power & 1) ? kPolynomial : 0);
  return static_cast<int64_t>(power) << 1;
}

// Adds sixteen bytes, `distance` bits behind `bytes`, to what these are congruent to there.
template <int distance>
__attribute__((target("pclmul,sse4.1"))) inline __m128i Fold(__m128i bytes, __m128i further) {
  constexpr int64_t kLow = PowerOfX(distance + 32);
  constexpr int64_t kHigh = PowerOfX(distance - 32);
  const __m128i powers = _mm_set_epi64x(kHigh, kLow);
  return _mm_xor_si128(
      _mm_xor_si128(_mm_clmulepi64_si128(bytes, powers, 0x00), _mm_clmulepi64_si128(bytes, powers, 0x11)),
      further);
}

__attribute__((target("pclmul,sse4.1"))) inline __m128i Load(const uint8_t* from) {
  return _mm_loadu_si128(reinterpret_cast<const __m128i*>(from));
}

uint32_t AddByteByByte(uint32_t state, const uint8_t* bytes, size_t count) {
  for (size_t i = 0; i < count; ++i) {
    state ^= bytes[i];
    for (int bit = 0; bit < 8; ++bit) state = (state >> 1) ^ ((state & 1) ? kPolynomial : 0);
  }
  return state;
}

}  // namespace

bool HasCrc32() { return __builtin_cpu_supports("pclmul") && __builtin_cpu_supports("sse4.1"); }

__attribute__((target("pclmul,sse4.1"))) uint32_t Crc32(uint32_t before, const uint8_t* bytes, size_t count) {
  uint32_t state = ~before;
  if (count >= 64) {
    // Four at a time, since a product takes several cycles and one can begin in each.
    __m128i a = _mm_xor_si128(Load(bytes), _mm_cvtsi32_si128(static_cast<int>(state)));
    __m128i b = Load(bytes + 16);
    __m128i c = Load(bytes + 32);
    __m128i d = Load(bytes + 48);
    for (bytes += 64, count -= 64; count >= 64; bytes += 64, count -= 64) {
      a = Fold<512>(a, Load(bytes));
      b = Fold<512>(b, Load(bytes + 16));
      c = Fold<512>(c, Load(bytes + 32));
      d = Fold<512>(d, Load(bytes + 48));
    }
    uint8_t left[16];
    d = Fold<128>(Fold<128>(Fold<128>(a, b), c), d);
    std::memcpy(left, &d, sizeof left);
    state = AddByteByByte(0, left, sizeof left);
  }
  return ~AddByteByByte(state, bytes, count);
}
#else
bool HasCrc32() { return false; }
uint32_t Crc32(uint32_t, const uint8_t*, size_t) { return 0; }
#endif

}  // namespace repvgg
