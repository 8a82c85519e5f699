// Product of two 512 × 512 matrices of f64, row by row: a load, a load, a store in the inner loop.
// Result: 0xc2359980

#include "kernel.h"

enum { SIZE = 512 };

static double left[SIZE * SIZE];
static double right[SIZE * SIZE];
static double product[SIZE * SIZE];

NOINLINE static void multiply(const double *a, const double *b, double *c, int size) {
  for (int i = 0; i < size; i++) {
    for (int k = 0; k < size; k++) {
      const double factor = a[i * size + k];
      for (int j = 0; j < size; j++) c[i * size + j] += factor * b[k * size + j];
    }
  }
}

SETUP {
  for (int at = 0; at < SIZE * SIZE; at++) {
    left[at] = (next_random() & 255) / 16.0;
    right[at] = (next_random() & 255) / 16.0;
  }
}

RUN {
  for (int at = 0; at < SIZE * SIZE; at++) product[at] = 0;
  multiply(left, right, product, SIZE);
  uint32_t digest = 0;
  for (int at = 0; at < SIZE * SIZE; at += 7) digest = digest_add(digest, (uint32_t)(product[at] * 256));
  return (int32_t)digest;
}
