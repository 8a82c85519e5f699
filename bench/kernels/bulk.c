// memcpy, memmove and memset of lengths known only at run time, aligned and not, overlapping and not, from nothing to
// several pages: with bulk memory these are memory.copy and memory.fill.
// Result: 0x20d01262

#include "kernel.h"

enum { ARENA_BYTES = 1 << 20, LONGEST = 20000, ROUNDS = 20000 };

static uint8_t arena[ARENA_BYTES];
static uint8_t other[ARENA_BYTES];

static inline uint32_t below(uint32_t bound) {
  return (uint32_t)((uint64_t)next_random() * bound >> 32);
}

NOINLINE static void step(uint32_t kind, uint32_t to, uint32_t from, uint32_t length) {
  if (kind == 0) __builtin_memset(arena + to, (int)(from & 255), length);
  else if (kind == 1) __builtin_memcpy(other + to, arena + from, length);
  else if (kind == 2) __builtin_memcpy(arena + to, other + from, length);
  else __builtin_memmove(arena + to, arena + from, length);
}

SETUP {}

RUN {
  random_state = 2718;
  for (uint32_t at = 0; at < ARENA_BYTES; at++) {
    arena[at] = (uint8_t)next_random();
    other[at] = (uint8_t)at;
  }
  for (int round = 0; round < ROUNDS; round++) {
    // Most fills are short, or the arena would soon hold nothing else.
    const uint32_t kind = next_random() >> 30;
    const uint32_t length = below(kind == 0 ? 200 : LONGEST);
    step(kind, below(ARENA_BYTES - LONGEST), below(ARENA_BYTES - LONGEST), length);
  }
  uint32_t digest = 0;
  for (uint32_t at = 0; at < ARENA_BYTES; at++) digest = digest_add(digest, arena[at] | (uint32_t)other[at] << 8);
  return (int32_t)digest;
}
