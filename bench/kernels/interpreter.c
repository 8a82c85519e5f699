// An interpreter of a small register machine: one loop around one switch of sixteen cases (a jump table), running a
// program that sieves primes below 200 000 and counts them.
// Result: 0x00004640

#include "kernel.h"

enum { LIMIT = 200000, REGISTERS = 8 };

enum { SET, MOVE, ADD, SUB, MUL, AND, OR, XOR, SHIFT, LOAD, STORE, JUMP, JUMP_LESS, JUMP_ZERO, NOTHING, HALT };

typedef struct {
  uint8_t operation;
  uint8_t to;
  uint8_t from;
  int32_t value;
} instruction;

static uint8_t cells[LIMIT];

/** Register 1: the candidate; 2: the multiple; 3: the limit; 4: the mark; 5: the square; 0: the count. */
static const instruction sieve[] = {
    {SET, 0, 0, 0},          {SET, 1, 0, 2},       {SET, 3, 0, LIMIT},  {SET, 7, 0, 1},
    /* 4: next candidate */
    {LOAD, 4, 1, 0},         {JUMP_ZERO, 4, 0, 7}, {JUMP, 0, 0, 15},    {ADD, 0, 7, 0},
    {MOVE, 5, 1, 0},         {MUL, 5, 1, 0},       {MOVE, 2, 5, 0},     {JUMP_LESS, 2, 3, 13},
    {JUMP, 0, 0, 15},
    /* 13: mark a multiple */
    {STORE, 7, 2, 0},        {JUMP, 0, 0, 18},
    /* 15: step to the next candidate */
    {ADD, 1, 7, 0},          {JUMP_LESS, 1, 3, 4}, {HALT, 0, 0, 0},
    /* 18: step to the next multiple */
    {ADD, 2, 1, 0},          {JUMP_LESS, 2, 3, 13}, {JUMP, 0, 0, 15},
};

NOINLINE static int64_t interpret(const instruction *program) {
  int64_t registers[REGISTERS] = {0};
  for (uint32_t at = 0;; at++) {
    const instruction *const next = &program[at];
    int64_t *const to = &registers[next->to];
    const int64_t from = registers[next->from];
    switch (next->operation) {
      case SET: *to = next->value; break;
      case MOVE: *to = from; break;
      case ADD: *to += from; break;
      case SUB: *to -= from; break;
      case MUL: *to *= from; break;
      case AND: *to &= from; break;
      case OR: *to |= from; break;
      case XOR: *to ^= from; break;
      case SHIFT: *to = (int64_t)((uint64_t)*to << (from & 63)); break;
      case LOAD: *to = cells[from]; break;
      case STORE: cells[from] = (uint8_t)*to; break;
      case JUMP: at = (uint32_t)next->value - 1; break;
      case JUMP_LESS: if (*to < from) at = (uint32_t)next->value - 1; break;
      case JUMP_ZERO: if (*to == 0) at = (uint32_t)next->value - 1; break;
      case NOTHING: break;
      default: return registers[0];
    }
  }
}

SETUP {}

RUN {
  for (int at = 0; at < LIMIT; at++) cells[at] = 0;
  return (int32_t)interpret(sieve);
}
