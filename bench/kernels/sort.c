// Quicksort of a million numbers: two scans with unforeseeable ends, swaps, recursion into the shorter part.
// Result: 0x9d7ef3e0

#include "kernel.h"

enum { COUNT = 1000000 };

static uint32_t numbers[COUNT];

NOINLINE static void sort(uint32_t *array, int first, int last) {
  while (first < last) {
    const uint32_t pivot = array[(first + last) >> 1];
    int left = first;
    int right = last;
    while (left <= right) {
      while (array[left] < pivot) left++;
      while (array[right] > pivot) right--;
      if (left > right) break;
      const uint32_t value = array[left];
      array[left++] = array[right];
      array[right--] = value;
    }
    if (right - first < last - left) {
      sort(array, first, right);
      first = left;
    } else {
      sort(array, left, last);
      last = right;
    }
  }
}

SETUP {}

RUN {
  random_state = 5;
  for (int at = 0; at < COUNT; at++) numbers[at] = next_random();
  sort(numbers, 0, COUNT - 1);
  uint32_t digest = 0;
  for (int at = 0; at < COUNT; at++) {
    check(at == 0 || numbers[at - 1] <= numbers[at]);
    digest = digest_add(digest, numbers[at]);
  }
  return (int32_t)digest;
}
