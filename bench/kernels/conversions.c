// Sign extensions of 8, 16 and 32 bits and conversions of floating-point numbers that saturate instead of trapping, in
// and out of the target's range; counts leading zeros, trailing zeros and ones on the way.
// Result: 0xb5d5f775
// Compile: -mnontrapping-fptoint -msign-ext

#include "kernel.h"

enum { ROUNDS = 1000000 };

/** A double of random sign, fraction and an exponent from −20 to 107, far beyond all integer types. */
static inline double next_double(void) {
  const uint64_t low = next_random();
  const uint64_t high = next_random();
  const uint64_t exponent = 1003 + (high & 127);
  const union {
    uint64_t bits;
    double value;
  } made = {(high >> 31) << 63 | exponent << 52 | (high >> 7 & 0xfffff) << 32 | low};
  return made.value;
}

/** Saturating, as Rust's `as` is: C leaves conversions out of range undefined, so the builtins are named. */
NOINLINE static uint32_t convert(double value) {
#ifdef __wasm__
  uint32_t digest = (uint32_t)__builtin_wasm_trunc_saturate_s_i32_f64(value);
  digest = digest_add(digest, (uint32_t)__builtin_wasm_trunc_saturate_u_i32_f64(value));
  const uint64_t wide = (uint64_t)__builtin_wasm_trunc_saturate_s_i64_f64(value) ^
                        (uint64_t)__builtin_wasm_trunc_saturate_u_i64_f32((float)value);
  return digest_add(digest_add(digest, (uint32_t)wide), (uint32_t)(wide >> 32));
#else
  const float narrow = (float)value;
  const int32_t s32 = value >= 2147483648.0 ? INT32_MAX : value <= -2147483649.0 ? INT32_MIN : (int32_t)value;
  const uint32_t u32 = value >= 4294967296.0 ? UINT32_MAX : value <= -1.0 ? 0 : (uint32_t)value;
  const double limit = 9223372036854775808.0;
  const int64_t s64 = value >= limit ? INT64_MAX : value < -limit ? INT64_MIN : (int64_t)value;
  const uint64_t u64 = narrow >= 18446744073709551616.0f ? UINT64_MAX : narrow <= -1.0f ? 0 : (uint64_t)narrow;
  const uint64_t wide = (uint64_t)s64 ^ u64;
  return digest_add(digest_add(digest_add((uint32_t)s32, u32), (uint32_t)wide), (uint32_t)(wide >> 32));
#endif
}

/** The five sign extensions of Wasm, of parameters as they come: after an addition the compiler takes shifts. */
NOINLINE static uint32_t extend(uint32_t narrow, uint64_t wide) {
  const uint32_t words = (uint32_t)(int8_t)narrow + (uint32_t)(int16_t)narrow * 3;
  const uint64_t long_words = (uint64_t)(int8_t)wide + (uint64_t)(int16_t)wide * 5 + (uint64_t)(int32_t)wide * 7;
  const int counts = __builtin_popcountll(wide) + __builtin_clzll(wide | 1) + __builtin_ctz(narrow | 1u << 31);
  return digest_add(words + (uint32_t)counts, (uint32_t)(long_words >> 7));
}

SETUP {}

RUN {
  random_state = 31337;
  uint32_t digest = 0;
  for (int i = 0; i < ROUNDS; i++) {
    digest = digest_add(digest, convert(next_double()));
    digest = digest_add(digest, extend(next_random(), (uint64_t)next_random() << 32 | (uint32_t)i * 2654435761u));
  }
  return (int32_t)digest;
}
