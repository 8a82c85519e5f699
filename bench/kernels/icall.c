// Four million calls through a function table, the function chosen by a byte of a random program.
// Result: 0xc7d271b2

#include "kernel.h"

enum { PROGRAM_BYTES = 4096, STEPS = 4000000 };

typedef uint32_t (*operation)(uint32_t, uint32_t);

static uint32_t add(uint32_t a, uint32_t b) {
  return a + b;
}
static uint32_t exclude(uint32_t a, uint32_t b) {
  return a ^ b;
}
static uint32_t multiply(uint32_t a, uint32_t b) {
  return a * (b | 1) + 1;
}
static uint32_t subtract(uint32_t a, uint32_t b) {
  return a - b * 3;
}

/** Not constant, or the compiler would turn the calls into a switch. */
operation operations[4] = {add, exclude, multiply, subtract};
static uint8_t program[PROGRAM_BYTES];

NOINLINE static uint32_t interpret(uint32_t steps) {
  uint32_t state = 1;
  for (uint32_t step = 0; step < steps; step++) {
    state = operations[program[step & (PROGRAM_BYTES - 1)]](state, step);
  }
  return state;
}

SETUP {
  for (int at = 0; at < PROGRAM_BYTES; at++) program[at] = next_random() & 3;
}

RUN {
  return (int32_t)interpret(STEPS);
}
