/*
 * What a page fault costs at least: demand paging through userfaultfd by a thread that has nothing else to do. It is the
 * reference for `kernel-paging.mjs`, which gives the pager of this project the same pattern of touches.
 *
 * Usage: fault-reference PATTERN PAGES FRAMES TOUCHES FILE, PATTERN being read or write. Prints the faults, the microseconds that
 * one takes, and a sum that depends on what was read.
 *
 * One page comes and one leaves at each fault, the one that came first. A page is written only if it was written to, which
 * PAGEMAP_SCAN tells under asynchronous write protection. Both threads run on one processor.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define PAGE_BYTES 4096ul
#ifndef UFFD_FEATURE_WP_ASYNC
#define UFFD_FEATURE_WP_ASYNC (1 << 15)
#endif

struct scan {
  uint64_t size, flags, start, end, walk_end, regions, regions_length, max_pages;
  uint64_t inverted, mask, any, wanted;
};
struct region {
  uint64_t start, end, categories;
};
#define SCAN_CALL _IOWR('f', 16, struct scan)
#define IS_WRITTEN (1ul << 1)
#define IS_PRESENT (1ul << 3)

static struct {
  int faults, stop, file, pagemap;
  uint8_t *memory;
  uint32_t page_count, frame_count;
  /* The pages that have a frame, in the order in which they came. */
  uint32_t *queue, first, resident_count;
  uint8_t *has_slot;
  _Atomic uint64_t served;
} pager;

static _Alignas(4096) uint8_t staging[PAGE_BYTES];
static _Alignas(4096) const uint8_t zeros[PAGE_BYTES];

static void must(long result, const char *what) {
  if (result >= 0) return;
  perror(what);
  exit(1);
}

static int is_written(uint8_t *at) {
  struct region region;
  struct scan scan = {.size = sizeof scan, .start = (uint64_t)at, .end = (uint64_t)at + PAGE_BYTES};
  scan.regions = (uint64_t)&region;
  scan.regions_length = 1;
  scan.mask = IS_WRITTEN | IS_PRESENT;
  scan.wanted = IS_WRITTEN;
  int found = ioctl(pager.pagemap, SCAN_CALL, &scan);
  must(found, "PAGEMAP_SCAN");
  return found > 0;
}

static void evict(void) {
  uint32_t page = pager.queue[pager.first];
  uint8_t *at = pager.memory + page * PAGE_BYTES;
  if (is_written(at)) {
    must(pwrite(pager.file, at, PAGE_BYTES, page * PAGE_BYTES), "pwrite");
    pager.has_slot[page] = 1;
  }
  must(madvise(at, PAGE_BYTES, MADV_DONTNEED), "madvise");
  pager.first = (pager.first + 1) % pager.frame_count;
  pager.resident_count--;
}

static void serve(uint64_t address, uint64_t flags) {
  uint32_t page = (address - (uint64_t)pager.memory) / PAGE_BYTES;
  pager.served++;
  if (pager.resident_count == pager.frame_count) evict();
  const uint8_t *contents = zeros;
  if (pager.has_slot[page]) {
    must(pread(pager.file, staging, PAGE_BYTES, page * PAGE_BYTES), "pread");
    contents = staging;
  }
  struct uffdio_copy copy = {.dst = (uint64_t)(pager.memory + page * PAGE_BYTES), .src = (uint64_t)contents};
  copy.len = PAGE_BYTES;
  copy.mode = flags & UFFD_PAGEFAULT_FLAG_WRITE ? 0 : UFFDIO_COPY_MODE_WP;
  must(ioctl(pager.faults, UFFDIO_COPY, &copy), "UFFDIO_COPY");
  pager.queue[(pager.first + pager.resident_count++) % pager.frame_count] = page;
}

static void *serve_all(void *unused) {
  struct pollfd polled[2] = {{pager.faults, POLLIN, 0}, {pager.stop, POLLIN, 0}};
  struct uffd_msg messages[16];
  for (;;) {
    must(poll(polled, 2, -1), "poll");
    if (polled[1].revents) return unused;
    ssize_t length = read(pager.faults, messages, sizeof messages);
    for (ssize_t i = 0; i * (ssize_t)sizeof *messages < length; i++) {
      if (messages[i].event != UFFD_EVENT_PAGEFAULT) continue;
      serve(messages[i].arg.pagefault.address, messages[i].arg.pagefault.flags);
    }
  }
}

static volatile uint32_t *word_of(uint32_t page) {
  return (uint32_t *)(pager.memory + page * PAGE_BYTES + 64);
}

static uint32_t touch(uint32_t touches, int writes) {
  uint32_t state = 1, sum = 0;
  for (uint32_t i = 0; i < touches; i++) {
    state = state * 1664525u + 1013904223u;
    volatile uint32_t *word = word_of((state >> 8) % pager.page_count);
    sum += *word;
    if (writes) *word += 1;
  }
  return sum;
}

int main(int count, char **values) {
  if (count != 6) return fprintf(stderr, "usage: fault-reference read|write PAGES FRAMES TOUCHES FILE\n"), 2;
  int writes = strcmp(values[1], "write") == 0;
  pager.page_count = atoi(values[2]);
  pager.frame_count = atoi(values[3]);
  uint32_t touches = atoi(values[4]);
  pager.file = open(values[5], O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  must(pager.file, values[5]);
  pager.pagemap = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
  must(pager.pagemap, "/proc/self/pagemap");
  pager.stop = eventfd(0, EFD_CLOEXEC);
  pager.queue = calloc(pager.frame_count, sizeof *pager.queue);
  pager.has_slot = calloc(pager.page_count, 1);
  size_t bytes = pager.page_count * PAGE_BYTES;
  pager.memory = mmap(0, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  must(pager.memory == MAP_FAILED ? -1 : 0, "mmap");
  must(madvise(pager.memory, bytes, MADV_NOHUGEPAGE), "madvise");

  pager.faults = syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);
  must(pager.faults, "userfaultfd");
  struct uffdio_api api = {.api = UFFD_API, .features = UFFD_FEATURE_PAGEFAULT_FLAG_WP | UFFD_FEATURE_WP_ASYNC};
  must(ioctl(pager.faults, UFFDIO_API, &api), "UFFDIO_API");
  struct uffdio_register range = {.range = {(uint64_t)pager.memory, bytes}};
  range.mode = UFFDIO_REGISTER_MODE_MISSING | UFFDIO_REGISTER_MODE_WP;
  must(ioctl(pager.faults, UFFDIO_REGISTER, &range), "UFFDIO_REGISTER");

  cpu_set_t here;
  CPU_ZERO(&here);
  CPU_SET(sched_getcpu(), &here);
  must(sched_setaffinity(0, sizeof here, &here), "sched_setaffinity");
  pthread_t thread;
  must(-pthread_create(&thread, 0, serve_all, 0), "pthread_create");

  /* Every page has a slot before the clock starts. */
  for (uint32_t page = 0; page < pager.page_count; page++) *word_of(page) = page + 1;
  uint64_t before = pager.served;
  struct timespec start, end;
  clock_gettime(CLOCK_MONOTONIC, &start);
  uint32_t sum = touch(touches, writes);
  clock_gettime(CLOCK_MONOTONIC, &end);
  double us = (end.tv_sec - start.tv_sec) * 1e6 + (end.tv_nsec - start.tv_nsec) / 1e3;
  uint64_t faults = pager.served - before;
  printf("{\"faults\":%lu,\"us\":%.3f,\"sum\":%u}\n", (unsigned long)faults, us / faults, sum);
  uint64_t one = 1;
  must(write(pager.stop, &one, sizeof one), "eventfd");
  pthread_join(thread, 0);
  return 0;
}
