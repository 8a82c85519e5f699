// Counts the placements of 11 queens: a recursion with a loop in each frame and a call in the loop.
// Result: 0x00000a78

#include "kernel.h"

enum { QUEENS = 11 };

static int column_of[QUEENS];
/** A variable, so that the recursion is not specialised for the number. */
int queens;

static int is_free(int row, int column) {
  for (int above = 0; above < row; above++) {
    const int distance = column_of[above] - column;
    if (distance == 0 || distance == row - above || distance == above - row) return 0;
  }
  return 1;
}

NOINLINE static int32_t placements(int row) {
  if (row == queens) return 1;
  int32_t count = 0;
  for (int column = 0; column < queens; column++) {
    if (!is_free(row, column)) continue;
    column_of[row] = column;
    count += placements(row + 1);
  }
  return count;
}

SETUP {
  queens = QUEENS;
}

RUN {
  return placements(0);
}
