/*
 * What a first write to a protected page costs at least, in a program that does nothing else. It is the reference for
 * `protection.mjs`, which gives the protection of this project the same writes.
 *
 * Usage: protection-reference WAY PAGES ROUNDS [STRIDE]. WAY is `thread`: synchronous write protection by userfaultfd, served by a thread on
 * the same processor; `signal`: mprotect, served by a handler of SIGSEGV in the thread itself, as libckpt does; `async`: writes are
 * let through and noted by the kernel; or `none`. Prints the microseconds that one write took, one page a write, every
 * page or one of every STRIDE.
 */
#define _GNU_SOURCE
#include <linux/userfaultfd.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
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
#include <fcntl.h>

#define PAGE_BYTES 4096ul
#ifndef UFFD_FEATURE_WP_UNPOPULATED
#define UFFD_FEATURE_WP_UNPOPULATED (1 << 13)
#endif
#ifndef UFFD_FEATURE_WP_ASYNC
#define UFFD_FEATURE_WP_ASYNC (1 << 15)
#endif
#ifndef UFFD_USER_MODE_ONLY
#define UFFD_USER_MODE_ONLY 1
#endif

static uint8_t *memory;
static size_t bytes;
static uint8_t *dirty;
static int faults, stop;
static volatile uint64_t served;

static void must(long result, const char *what) {
  if (result >= 0) return;
  perror(what);
  exit(1);
}

static void protect(uint8_t *at, size_t length, int protects) {
  struct uffdio_writeprotect change = {{(uint64_t)at, length}, protects};
  must(ioctl(faults, UFFDIO_WRITEPROTECT, &change), "UFFDIO_WRITEPROTECT");
}

static void note(uint8_t *at) {
  dirty[(at - memory) / PAGE_BYTES] = 1;
  served++;
}

static void *serve_all(void *unused) {
  struct pollfd polled[2] = {{faults, POLLIN, 0}, {stop, POLLIN, 0}};
  struct uffd_msg messages[16];
  for (;;) {
    must(poll(polled, 2, -1), "poll");
    if (polled[1].revents) return unused;
    ssize_t length = read(faults, messages, sizeof messages);
    for (ssize_t i = 0; i * (ssize_t)sizeof *messages < length; i++) {
      uint8_t *at = (uint8_t *)(messages[i].arg.pagefault.address & ~(PAGE_BYTES - 1));
      note(at);
      protect(at, PAGE_BYTES, 0);
    }
  }
}

static void on_fault(int number, siginfo_t *information, void *context) {
  uint8_t *at = (uint8_t *)((uint64_t)information->si_addr & ~(PAGE_BYTES - 1));
  if (at < memory || at >= memory + bytes) _exit(number);
  note(at);
  if (mprotect(at, PAGE_BYTES, PROT_READ | PROT_WRITE) < 0) _exit(1);
  (void)context;
}

static void open_faults(uint64_t features) {
  faults = syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK | UFFD_USER_MODE_ONLY);
  must(faults, "userfaultfd");
  struct uffdio_api api = {.api = UFFD_API};
  api.features = UFFD_FEATURE_PAGEFAULT_FLAG_WP | UFFD_FEATURE_WP_UNPOPULATED | features;
  must(ioctl(faults, UFFDIO_API, &api), "UFFDIO_API");
  struct uffdio_register range = {.range = {(uint64_t)memory, bytes}, .mode = UFFDIO_REGISTER_MODE_WP};
  must(ioctl(faults, UFFDIO_REGISTER, &range), "UFFDIO_REGISTER");
}

int main(int count, char **values) {
  if (count < 4) return fprintf(stderr, "usage: protection-reference thread|signal|async|none PAGES ROUNDS [STRIDE]\n"), 2;
  const char *way = values[1];
  size_t pages = atol(values[2]);
  int rounds = atoi(values[3]);
  size_t stride = count > 4 ? atol(values[4]) : 1;
  bytes = pages * stride * PAGE_BYTES;
  dirty = calloc(pages * stride, 1);
  memory = mmap(0, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  must(memory == MAP_FAILED ? -1 : 0, "mmap");
  must(madvise(memory, bytes, MADV_NOHUGEPAGE), "madvise");
  memset(memory, 1, bytes);

  int by_thread = strcmp(way, "thread") == 0, by_signal = strcmp(way, "signal") == 0, by_kernel = strcmp(way, "async") == 0;
  pthread_t thread;
  cpu_set_t here;
  CPU_ZERO(&here);
  CPU_SET(sched_getcpu(), &here);
  must(sched_setaffinity(0, sizeof here, &here), "sched_setaffinity");
  if (by_thread || by_kernel) open_faults(by_kernel ? UFFD_FEATURE_WP_ASYNC : 0);
  if (by_thread) {
    stop = eventfd(0, EFD_CLOEXEC);
    must(-pthread_create(&thread, 0, serve_all, 0), "pthread_create");
  }
  if (by_signal) {
    struct sigaction action = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO | SA_NODEFER};
    must(sigaction(SIGSEGV, &action, 0), "sigaction");
  }

  double us = 0;
  for (int round = 0; round < rounds; round++) {
    memset(dirty, 0, pages * stride);
    if (by_thread || by_kernel) protect(memory, bytes, 1);
    if (by_signal) must(mprotect(memory, bytes, PROT_READ), "mprotect");
    struct timespec start, end;
    clock_gettime(CLOCK_MONOTONIC, &start);
    for (size_t page = 0; page < pages; page++) {
      volatile uint32_t *word = (uint32_t *)(memory + page * stride * PAGE_BYTES + 64);
      *word = *word + 1;
    }
    clock_gettime(CLOCK_MONOTONIC, &end);
    us += (end.tv_sec - start.tv_sec) * 1e6 + (end.tv_nsec - start.tv_nsec) / 1e3;
    if (by_signal) must(mprotect(memory, bytes, PROT_READ | PROT_WRITE), "mprotect");
  }
  printf("{\"us\":%.4f,\"served\":%lu}\n", us / rounds / pages, (unsigned long)served);
  if (by_thread) {
    uint64_t one = 1;
    must(write(stop, &one, sizeof one), "eventfd");
    pthread_join(thread, 0);
  }
  return 0;
}
