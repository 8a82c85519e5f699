// Three functions of different signatures call each other 3000 frames deep, a thousand times; each frame has an array
// of its own on the stack in memory, which its return reads.
// Result: 0x0f84c767

#include "kernel.h"

enum { DEPTH = 3000, ROUNDS = 1000, OWN_WORDS = 4 };

static uint64_t descend_wide(uint32_t depth, uint64_t seed);
static uint32_t descend_narrow(uint32_t depth, uint32_t seed, double weight);
static double descend_float(double seed, uint32_t depth);

/** Where a frame's array is filled: out of line, so that the array must lie in memory. */
NOINLINE static void fill(uint32_t *own, uint32_t seed) {
  for (int i = 0; i < OWN_WORDS; i++) own[i] = seed = seed * 1664525 + 1013904223;
}

NOINLINE static uint64_t descend_wide(uint32_t depth, uint64_t seed) {
  uint32_t own[OWN_WORDS];
  fill(own, (uint32_t)seed);
  const uint64_t below = depth == 0 ? seed : descend_narrow(depth - 1, own[seed & 3], (double)own[0]);
  return below * 31 + own[1] + seed;
}

NOINLINE static uint32_t descend_narrow(uint32_t depth, uint32_t seed, double weight) {
  uint32_t own[OWN_WORDS];
  fill(own, seed);
  const double below = depth == 0 ? weight : descend_float(weight + own[1], depth - 1);
  return (uint32_t)((uint64_t)below & 0xffffffff) ^ own[2] ^ seed;
}

NOINLINE static double descend_float(double seed, uint32_t depth) {
  uint32_t own[OWN_WORDS];
  fill(own, (uint32_t)(uint64_t)seed);
  const uint64_t below = depth == 0 ? 1 : descend_wide(depth - 1, own[3] | (uint64_t)depth << 32);
  return (double)(below >> 16 & 0xffffffff) + own[0];
}

SETUP {}

RUN {
  uint32_t digest = 0;
  for (uint32_t round = 0; round < ROUNDS; round++) {
    const uint64_t wide = descend_wide(DEPTH, round);
    digest = digest_add(digest_add(digest, (uint32_t)wide), (uint32_t)(wide >> 32));
  }
  return (int32_t)digest;
}
