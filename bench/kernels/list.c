// Walks twice through a linked list of 2¹⁸ nodes in random order: a chain of loads, each address known
// from the last.
// Result: 0x9c184490

#include "kernel.h"

enum { NODE_COUNT = 1 << 18 };

/** 16 bytes, on 32-bit targets. */
typedef struct node {
  struct node *next;
  uint32_t value;
  uint32_t unused[2];
} node;

static node nodes[NODE_COUNT];
static uint32_t order[NODE_COUNT];

NOINLINE static uint32_t walk(const node *at, uint32_t steps) {
  uint32_t digest = 0;
  for (; steps > 0; steps--) {
    digest = digest_add(digest, at->value);
    at = at->next;
  }
  return digest;
}

SETUP {
  for (uint32_t i = 0; i < NODE_COUNT; i++) order[i] = i;
  for (uint32_t i = NODE_COUNT - 1; i > 0; i--) {
    const uint32_t j = next_random() % (i + 1);
    const uint32_t value = order[i];
    order[i] = order[j];
    order[j] = value;
  }
  for (uint32_t i = 0; i < NODE_COUNT; i++) {
    nodes[order[i]].next = &nodes[order[(i + 1) % NODE_COUNT]];
    nodes[order[i]].value = i;
  }
}

RUN {
  return (int32_t)walk(nodes, 2 * NODE_COUNT);
}
