// Naive Fibonacci recursion: nothing but calls, the worst case for checks after calls.
// Result: 0x005704e7

#include "kernel.h"

NOINLINE int32_t fib(int32_t n) {
  return n < 2 ? n : fib(n - 1) + fib(n - 2);
}

SETUP {}

RUN {
  return fib(34);
}
