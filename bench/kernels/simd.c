// Product of two 512 × 512 matrices of f32 by vectors of 128 bits, and a byte shuffle of the result.
// Result: 0x0f74159d
// Compile: -msimd128

#include <wasm_simd128.h>

#include "kernel.h"

enum { SIZE = 512 };

static float left[SIZE * SIZE];
static float right[SIZE * SIZE];
static float product[SIZE * SIZE];

NOINLINE static void multiply(const float *a, const float *b, float *c, int size) {
  for (int i = 0; i < size; i++) {
    for (int k = 0; k < size; k++) {
      const v128_t factor = wasm_f32x4_splat(a[i * size + k]);
      for (int j = 0; j < size; j += 4) {
        const v128_t term = wasm_f32x4_mul(factor, wasm_v128_load(b + k * size + j));
        wasm_v128_store(c + i * size + j, wasm_f32x4_add(wasm_v128_load(c + i * size + j), term));
      }
    }
  }
}

/** A digest with a vector in its loop, so that a state captured there holds one. */
NOINLINE static uint32_t digest_of(const float *values, int count) {
  v128_t digest = wasm_i32x4_make(1, 2, 3, 4);
  for (int at = 0; at < count; at += 4) {
    digest = wasm_i32x4_mul(wasm_v128_xor(digest, wasm_v128_load(values + at)), wasm_i32x4_splat((int32_t)0x9e3779b1u));
    digest = wasm_i8x16_shuffle(digest, digest, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 0, 1, 2, 3, 4);
  }
  return (uint32_t)(wasm_i32x4_extract_lane(digest, 0) ^ wasm_i32x4_extract_lane(digest, 1) ^
                    wasm_i32x4_extract_lane(digest, 2) ^ wasm_i32x4_extract_lane(digest, 3));
}

SETUP {
  for (int at = 0; at < SIZE * SIZE; at++) {
    left[at] = (next_random() & 255) / 16.0f;
    right[at] = (next_random() & 255) / 16.0f;
  }
}

RUN {
  for (int at = 0; at < SIZE * SIZE; at++) product[at] = 0;
  multiply(left, right, product, SIZE);
  return (int32_t)digest_of(product, SIZE * SIZE);
}
