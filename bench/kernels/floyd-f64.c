// Floyd and Warshall's shortest paths on a 512 × 512 matrix of f64: loads, additions and rare stores in
// an affine inner loop.
// Result: 0x09686ab7

#include "kernel.h"

enum { SIZE = 512 };

static double weights[SIZE * SIZE];
static double distances[SIZE * SIZE];

NOINLINE static void shorten(double *matrix, int size) {
  for (int middle = 0; middle < size; middle++) {
    for (int i = 0; i < size; i++) {
      const double to_middle = matrix[i * size + middle];
      for (int j = 0; j < size; j++) {
        const double through = to_middle + matrix[middle * size + j];
        if (through < matrix[i * size + j]) matrix[i * size + j] = through;
      }
    }
  }
}

SETUP {
  for (int at = 0; at < SIZE * SIZE; at++) weights[at] = (next_random() & 1023) + 1;
}

RUN {
  for (int at = 0; at < SIZE * SIZE; at++) distances[at] = weights[at];
  shorten(distances, SIZE);
  uint32_t digest = 0;
  for (int at = 0; at < SIZE * SIZE; at += 7) digest = digest_add(digest, (uint32_t)distances[at]);
  return (int32_t)digest;
}
