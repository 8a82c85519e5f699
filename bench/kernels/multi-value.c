// Functions with several results, called in loops, through recursion and through a table: extended Euclid on
// 200 000 pairs.
// Result: 0x42294797
// Compile: -mmultivalue -Xclang -target-abi -Xclang experimental-mv

#include "kernel.h"

enum { PAIRS = 200000 };

/** divisor = a·x + b·y */
typedef struct {
  int64_t divisor;
  int64_t x;
  int64_t y;
} bezout;

typedef struct {
  uint32_t quotient;
  double remainder;
} division;

typedef bezout (*algorithm)(int64_t, int64_t);

NOINLINE static division divide(uint32_t a, uint32_t b) {
  return (division){a / b, (double)(a % b)};
}

NOINLINE static bezout by_recursion(int64_t a, int64_t b) {
  if (b == 0) return (bezout){a, 1, 0};
  const bezout below = by_recursion(b, a % b);
  return (bezout){below.divisor, below.y, below.x - a / b * below.y};
}

NOINLINE static bezout by_loop(int64_t a, int64_t b) {
  int64_t x = 1, next_x = 0, y = 0, next_y = 1;
  while (b != 0) {
    const division part = divide((uint32_t)a, (uint32_t)b);
    const int64_t later_x = x - part.quotient * next_x;
    const int64_t later_y = y - part.quotient * next_y;
    a = b;
    b = (int64_t)part.remainder;
    x = next_x;
    next_x = later_x;
    y = next_y;
    next_y = later_y;
  }
  return (bezout){a, x, y};
}

/** Not constant, so that the calls stay indirect. */
algorithm algorithms[2] = {by_recursion, by_loop};

SETUP {}

RUN {
  random_state = 4711;
  uint32_t digest = 0;
  for (int i = 0; i < PAIRS; i++) {
    const int64_t a = next_random() >> 2;
    const int64_t b = next_random() >> 2;
    const bezout found = algorithms[i & 1](a, b);
    check(found.divisor == a * found.x + b * found.y && a % found.divisor == 0 && b % found.divisor == 0);
    digest = digest_add(digest_add(digest, (uint32_t)found.divisor), (uint32_t)found.x);
  }
  return (int32_t)digest;
}
