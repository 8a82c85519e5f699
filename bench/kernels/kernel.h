// What the C kernels share. A kernel exports `setup`, called once, and `run`, which does the same work at every call
// and returns a digest of its result. It imports nothing; its head says the digest that every engine must give.

#ifndef KERNEL_H
#define KERNEL_H

#include <stddef.h>
#include <stdint.h>

#ifdef __wasm__
#define EXPORT(name) __attribute__((export_name(name)))
#else
#define EXPORT(name)
#endif

/** Kept a function of its own, so that the kernel has the calls that its source shows. */
#define NOINLINE __attribute__((noinline))

#define SETUP EXPORT("setup") void setup(void)
#define RUN EXPORT("run") int32_t run(void)

/** State of `next_random`; never zero. */
static uint32_t random_state = 12345;

/** Marsaglia's xorshift with 32 bits of state. */
static inline uint32_t next_random(void) {
  random_state ^= random_state << 13;
  random_state ^= random_state >> 17;
  random_state ^= random_state << 5;
  return random_state;
}

static inline uint32_t rotate_right(uint32_t value, int count) {
  return value >> count | value << (32 - count);
}

/** Adds a word to a digest of a sequence, sensitive to the order. */
static inline uint32_t digest_add(uint32_t digest, uint32_t word) {
  return rotate_right(digest ^ word, 27) * 0x9e3779b1u + 0x7f4a7c15u;
}

/** A result that a kernel finds wrong ends it with a trap, which no caller can take for a digest. */
static inline void check(int holds) {
  if (!holds) __builtin_trap();
}

#endif
