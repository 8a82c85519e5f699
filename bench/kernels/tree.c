// A binary search tree of 150 000 random keys, not balanced, and four recursive sums over it.
// Result: 0x56a4f564

#include "kernel.h"

enum { INSERTIONS = 150000, SUMS = 4 };

typedef struct node {
  struct node *left;
  struct node *right;
  uint32_t key;
  uint32_t count;
} node;

static node pool[INSERTIONS];
static uint32_t used;
static node *root;

NOINLINE static void insert(uint32_t key) {
  node **place = &root;
  while (*place) {
    node *const at = *place;
    if (key == at->key) {
      at->count++;
      return;
    }
    place = key < at->key ? &at->left : &at->right;
  }
  node *const added = &pool[used++];
  *added = (node){NULL, NULL, key, 1};
  *place = added;
}

static uint32_t sum(const node *at, uint32_t depth) {
  if (!at) return 0;
  return at->key * depth + at->count + sum(at->left, depth + 1) + sum(at->right, depth + 1);
}

SETUP {}

RUN {
  used = 0;
  root = NULL;
  random_state = 777;
  for (int i = 0; i < INSERTIONS; i++) insert(next_random() >> 8);
  uint32_t digest = 0;
  for (int i = 0; i < SUMS; i++) digest = digest_add(digest, sum(root, 1));
  return (int32_t)digest;
}
