// Numbers of both types, read and written as floats, and their exponential: for the C++ files of this package.

#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>

namespace c10 {  // as torch calls it
struct alignas(2) BFloat16 {
    uint16_t bits;
};
}  // namespace c10

using float32 = float;
using bfloat16 = c10::BFloat16;

inline float from_bits(uint32_t bits) {
    float x;
    std::memcpy(&x, &bits, 4);
    return x;
}

inline float read(float x) { return x; }
inline float read(bfloat16 x) { return from_bits(uint32_t(x.bits) << 16); }
inline void write(float& to, float x) { to = x; }
inline void write(bfloat16& to, float x) {  // to the nearest, ties to even
    uint32_t bits;
    std::memcpy(&bits, &x, 4);
    to.bits = uint16_t((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}

// The exponential as 2^n times a polynomial of what is left (Cephes, expf): within two units of the last place.
inline float exponential(float x) {
    x = std::min(std::max(x, -87.0f), 87.0f);  // the result stays a normal number
    float n = __builtin_rintf(x * 1.44269504f);
    float r = x - n * 0.693359375f + n * 2.12194440e-4f;
    float p = 1.9875691500e-4f;
    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    return (p * r * r + r + 1.0f) * from_bits(uint32_t(int32_t(n) + 127) << 23);
}
