// Product of two 400 × 400 matrices of f64, inner products: the inner loop walks a column,
// a page for each element or two.
// Result: 0x758577f6

#include "kernel.h"

enum { SIZE = 400 };

static double left[SIZE * SIZE];
static double right[SIZE * SIZE];
static double product[SIZE * SIZE];

NOINLINE static void multiply(const double *a, const double *b, double *c, int size) {
  for (int i = 0; i < size; i++) {
    for (int j = 0; j < size; j++) {
      double sum = 0;
      for (int k = 0; k < size; k++) sum += a[i * size + k] * b[k * size + j];
      c[i * size + j] = sum;
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
