/*
 * First writes to pages, found by mprotect(2) and a handler of SIGSEGV in the thread that writes: libckpt's own mechanism, for
 * `--tracker mprotect`. `src/kernel/page-guard.ts` is the only caller; it and this file agree about the layout of what they share.
 *
 * A guard is one guest's memory. Its pages are protected (PROT_READ) a range at a time. A write to one of them ends in the handler,
 * which gives the page to the checkpoint that is being saved, notes it as dirty, makes it writable, and returns to the write.
 *
 * Invariants, while the guest runs:
 *
 * (1) A page whose state byte says clean is protected. One whose state says dirty is not, unless the guard is blunt.
 * (2) No page at or above `covered` was ever protected: above it lies address space that V8 keeps without access, so that accesses
 *     out of bounds trap. PROT_READ there would let them read.
 * (3) A page of the save that is still to be taken is protected: it is kept for the save before it is made writable.
 *
 * All calls on a guard come from the guest's thread, and so do its faults: nothing of a guard is changed by two threads, and what the
 * handler finds, it finds between two instructions of that thread. Other threads read guards only to see that a fault is not theirs, and
 * a thread that ended without closing its guard leaves nothing that is acted upon.
 *
 * The handler calls memcpy, memset, clock_gettime, poll and mprotect, of which the last is a bare system call here; it takes no lock,
 * allocates nothing, and waits for nobody but the thread that saves, which never waits for the guest.
 *
 * A fault that is no guard's goes to the handler that was there before, V8's that turns it into a trap of the program, or
 * Node.js's, as if this one were not there: with the same information and context, on the stack and under the mask that it had asked for.
 *
 * Each page that is open between protected ones takes two mappings, and the system allows a process some 65 530 of them
 * (vm.max_map_count). V8 needs some, too, and ends the process where it gets none. So a guard has a number that it may take; where
 * that is reached, or the system refuses one, the whole memory is opened, all of it counts as written, and the figures tell.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#ifndef SOURCE_DIGEST
#define SOURCE_DIGEST ""
#endif
#define PAGE_BYTES 4096ul
#define GUARDS_MAX 64

/* State bytes: `PageState` of src/memory/layout.ts. */
enum { CLEAN = 0, DIRTY = 1 };

/* States of pages that are being saved, room for copies: `PendingState`, `CopyWord` and `COPY_MS` of src/save/pending-pages.ts. */
enum { IN_MEMORY = 0, CLAIMED = 1, COPIED = 16 };
enum { COPIES_USED = 0, COPY_FAULTS = 1, COPY_MS = 1 };

/* Figures, each a double: `ProtectionFigures` of src/machine/protection-figures.ts. */
enum { FAULTS, FAULT_MS, OVERFLOWS, IS_BLUNT };

/* The pages of a checkpoint that is being saved, ascending. */
struct save {
  const uint32_t *pages;
  _Atomic int32_t *states;
  size_t count;
  uint8_t *copies;
  int32_t copies_max;
  int32_t *words;
  double *figures;
};

struct guard {
  atomic_int is_taken;
  /* The guest's, whose faults alone are served. */
  _Atomic uint64_t thread;
  _Atomic uintptr_t base;
  /* Pages from the base on that may be protected. */
  atomic_size_t covered;
  size_t pages_max;
  uint8_t *states;
  double *figures;
  /* An upper bound of the mappings that the pages take; counted when it comes to the most that they may. */
  size_t mappings;
  size_t mappings_max;
  /* Everything was opened, and not protected since. */
  int is_whole_open;
  struct save save;
};

/* Of this file, so that the build knows what a library was made from. */
const char page_guard_source[] = SOURCE_DIGEST;

static struct guard guards[GUARDS_MAX];
/* Guards at or above this index were never taken. */
static atomic_int guards_end;
/*
 * Threads that have opened guards have numbers, which never come again, unlike those of the system; others have 0. Made with the
 * thread: what a handler looks at must not be allocated by looking.
 */
static __thread uint64_t this_thread __attribute__((tls_model("initial-exec")));
static _Atomic uint64_t threads;
static struct sigaction previous;
static pthread_mutex_t installing = PTHREAD_MUTEX_INITIALIZER;

static double now_ms(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return time.tv_sec * 1e3 + time.tv_nsec / 1e6;
}

static int protect_pages(const struct guard *guard, size_t first, size_t count, int protection) {
  if (count == 0) return 0;
  uintptr_t base = atomic_load_explicit(&guard->base, memory_order_relaxed);
  return mprotect((void *)(base + first * PAGE_BYTES), count * PAGE_BYTES, protection) == 0 ? 0 : errno;
}

/* Sees to it that the save has the page with this index as it is now. Returns whether it was copied for that. */
static int keep_index(const struct guard *guard, size_t index) {
  const struct save *save = &guard->save;
  _Atomic int32_t *state = &save->states[index];
  for (;;) {
    int32_t expected = atomic_load(state);
    /* The saver copies a claimed page at once: that takes less time than going to sleep. */
    if (expected == CLAIMED) continue;
    if (expected != IN_MEMORY) return 0;
    if (save->words[COPIES_USED] >= save->copies_max) {
      /* The saver takes every page in the end, and gives up those that are left where it fails. */
      poll(0, 0, 1);
      continue;
    }
    if (!atomic_compare_exchange_strong(state, &expected, CLAIMED)) continue;
    int32_t copy = save->words[COPIES_USED]++;
    uintptr_t base = atomic_load_explicit(&guard->base, memory_order_relaxed);
    memcpy(save->copies + copy * PAGE_BYTES, (const void *)(base + save->pages[index] * PAGE_BYTES), PAGE_BYTES);
    atomic_store(state, COPIED + copy);
    return 1;
  }
}

static void keep_page(const struct guard *guard, size_t page) {
  const struct save *save = &guard->save;
  size_t low = 0, high = save->count;
  while (low < high) {
    size_t middle = (low + high) / 2;
    if (save->pages[middle] < page) low = middle + 1;
    else high = middle;
  }
  if (low == save->count || save->pages[low] != page) return;
  double start_ms = now_ms();
  if (!keep_index(guard, low)) return;
  save->words[COPY_FAULTS] += 1;
  save->figures[COPY_MS] += now_ms() - start_ms;
}

/* Every page may be written from now on and counts as written; what is being saved has its pages by then. */
static int open_whole(struct guard *guard) {
  size_t covered = atomic_load_explicit(&guard->covered, memory_order_relaxed);
  for (size_t index = 0; index < guard->save.count; index++) keep_index(guard, index);
  memset(guard->states, DIRTY, covered);
  int refusal = protect_pages(guard, 0, covered, PROT_READ | PROT_WRITE);
  if (refusal != 0) return refusal;
  guard->mappings = 0;
  guard->is_whole_open = 1;
  guard->figures[OVERFLOWS] += 1;
  guard->figures[IS_BLUNT] = 0;
  return 0;
}

static void count_mappings(struct guard *guard) {
  size_t covered = atomic_load_explicit(&guard->covered, memory_order_relaxed);
  size_t mappings = 0;
  for (size_t page = 1; page < covered; page++) mappings += guard->states[page] != guard->states[page - 1];
  guard->mappings = mappings;
}

/* Whether two mappings more are too many. Where the guard is blunt, states do not tell what is mapped how. */
static int is_full(struct guard *guard) {
  if (guard->mappings + 2 <= guard->mappings_max) return 0;
  if (guard->figures[IS_BLUNT] == 0) count_mappings(guard);
  return guard->mappings + 2 > guard->mappings_max;
}

/* Makes pages writable, which are noted as dirty. */
static int open_pages(struct guard *guard, size_t first, size_t count) {
  memset(guard->states + first, DIRTY, count);
  if (is_full(guard) || protect_pages(guard, first, count, PROT_READ | PROT_WRITE) != 0) return open_whole(guard);
  return 0;
}

/* A page was opened: one that joins two open ones gives two mappings back, and one beside an open one takes none. */
static void note_mapping(struct guard *guard, size_t page) {
  size_t covered = atomic_load_explicit(&guard->covered, memory_order_relaxed);
  const uint8_t *states = guard->states;
  int neighbours = (page == 0 || states[page - 1] == DIRTY) + (page + 1 == covered || states[page + 1] == DIRTY);
  if (neighbours == 0 || guard->figures[IS_BLUNT] != 0) guard->mappings += 2;
  else if (neighbours == 2 && guard->mappings >= 2) guard->mappings -= 2;
}

/* Returns whether the fault is dealt with. */
static int serve(struct guard *guard, size_t page) {
  uint8_t *states = guard->states;
  int was_clean = states[page] == CLEAN;
  /* A page that may be written, and yet cannot be: nothing here would change that. */
  if (!was_clean && guard->figures[IS_BLUNT] == 0) return 0;
  double start_ms = now_ms();
  keep_page(guard, page);
  if (open_pages(guard, page, 1) != 0) return 0;
  if (!guard->is_whole_open) note_mapping(guard, page);
  if (!was_clean) return 1;
  guard->figures[FAULTS] += 1;
  guard->figures[FAULT_MS] += now_ms() - start_ms;
  return 1;
}

/* What would happen if this handler were not there. */
static void pass_on(int number, siginfo_t *information, void *context) {
  int is_fault = information->si_code > 0;
  if (!(previous.sa_flags & SA_SIGINFO)) {
    /* The system ignores no fault. */
    if (previous.sa_handler == SIG_IGN && !is_fault) return;
    if (previous.sa_handler == SIG_DFL || previous.sa_handler == SIG_IGN) {
      /* The instruction faults again and ends the process; a signal that somebody sent has to be sent once more. */
      signal(number, SIG_DFL);
      if (!is_fault) raise(number);
      return;
    }
  }
  if (previous.sa_flags & SA_RESETHAND) signal(number, SIG_DFL);
  if (previous.sa_flags & SA_SIGINFO) previous.sa_sigaction(number, information, context);
  else previous.sa_handler(number);
}

static void on_fault(int number, siginfo_t *information, void *context) {
  int errno_before = errno;
  if (information->si_code == SEGV_ACCERR) {
    uintptr_t address = (uintptr_t)information->si_addr;
    int end = atomic_load(&guards_end);
    for (int index = 0; index < end; index++) {
      struct guard *guard = &guards[index];
      size_t covered = atomic_load(&guard->covered);
      size_t page = (address - atomic_load(&guard->base)) / PAGE_BYTES;
      if (page >= covered || atomic_load(&guard->thread) != this_thread) continue;
      if (!serve(guard, page)) break;
      errno = errno_before;
      return;
    }
  }
  errno = errno_before;
  pass_on(number, information, context);
}

static int is_installed(void) {
  struct sigaction action;
  return sigaction(SIGSEGV, 0, &action) == 0 && (action.sa_flags & SA_SIGINFO) && action.sa_sigaction == on_fault;
}

/* Installs the handler for the rest of the process's life: others may keep it as the one before theirs. Returns 0 or errno. */
static int install(void) {
  static int is_done;
  pthread_mutex_lock(&installing);
  int refusal = 0;
  if (!is_done) {
    /* Known before ours is there: it may be called at once. */
    if (sigaction(SIGSEGV, 0, &previous) != 0) refusal = errno;
    struct sigaction action = previous;
    action.sa_sigaction = on_fault;
    action.sa_flags = (previous.sa_flags & ~SA_RESETHAND) | SA_SIGINFO;
    if (refusal == 0 && sigaction(SIGSEGV, &action, 0) != 0) refusal = errno;
    is_done = refusal == 0;
  }
  pthread_mutex_unlock(&installing);
  return refusal;
}

/* A guard of memory at `base`, of which nothing is protected yet: its number, or a negative errno. */
int page_guard_open(uintptr_t base, size_t pages_max, uint8_t *states, double *figures, size_t mappings_max) {
  int refusal = install();
  if (refusal != 0) return -refusal;
  for (int index = 0; index < GUARDS_MAX; index++) {
    struct guard *guard = &guards[index];
    uintptr_t other = atomic_load(&guard->base);
    int overlaps = base < other + guard->pages_max * PAGE_BYTES && other < base + pages_max * PAGE_BYTES;
    /* The thread of such a guard ended without closing it, or its memory would not be another's. */
    if (atomic_load(&guard->is_taken) && overlaps) {
      atomic_store(&guard->covered, 0);
      atomic_store(&guard->is_taken, 0);
    }
  }
  for (int index = 0; index < GUARDS_MAX; index++) {
    struct guard *guard = &guards[index];
    int free = 0;
    if (!atomic_compare_exchange_strong(&guard->is_taken, &free, 1)) continue;
    guard->pages_max = pages_max;
    guard->states = states;
    guard->figures = figures;
    guard->mappings = 0;
    guard->mappings_max = mappings_max;
    guard->is_whole_open = 0;
    guard->save.count = 0;
    if (this_thread == 0) this_thread = atomic_fetch_add(&threads, 1) + 1;
    atomic_store(&guard->thread, this_thread);
    atomic_store(&guard->base, base);
    for (int end = atomic_load(&guards_end); end <= index;) atomic_compare_exchange_weak(&guards_end, &end, index + 1);
    return index;
  }
  return -EAGAIN;
}

/* Mappings that one guest's pages may take: of those that the system allows a process, a part is left to everything else. */
size_t page_guard_mappings_max(void) {
  size_t allowed = 65530;
  FILE *file = fopen("/proc/sys/vm/max_map_count", "re");
  if (file != 0) {
    if (fscanf(file, "%zu", &allowed) != 1) allowed = 65530;
    fclose(file);
  }
  return allowed / 4 * 3;
}

/* Whether faults still come here first. A handler that was installed later takes all of them. */
int page_guard_is_heard(void) { return is_installed(); }

/*
 * Protects pages whose states are clean by now. Where that takes too many mappings all pages are: every page that is not clean
 * is opened by the caller then, by `page_guard_release`, before the guest runs. Returns 0 or errno.
 */
int page_guard_protect(int index, size_t first, size_t count) {
  struct guard *guard = &guards[index];
  size_t covered = atomic_load(&guard->covered);
  if (first + count > covered) atomic_store(&guard->covered, covered = first + count);
  guard->is_whole_open = 0;
  guard->figures[IS_BLUNT] = 0;
  guard->mappings = count == covered ? 0 : guard->mappings + 2;
  int refusal = protect_pages(guard, first, count, PROT_READ);
  return refusal == ENOMEM ? protect_pages(guard, 0, covered, PROT_READ) : refusal;
}

/* Makes pages writable and notes them as dirty. What is being saved has them by now. Returns 0 or errno. */
int page_guard_release(int index, size_t first, size_t count) {
  struct guard *guard = &guards[index];
  size_t covered = atomic_load(&guard->covered);
  if (first + count > covered) {
    if (first < covered) memset(guard->states + covered, DIRTY, first + count - covered);
    else memset(guard->states + first, DIRTY, count);
    if (first >= covered) return 0;
    count = covered - first;
  }
  if (count == covered) {
    memset(guard->states, DIRTY, covered);
    guard->mappings = 0;
    guard->figures[IS_BLUNT] = 0;
    return protect_pages(guard, 0, covered, PROT_READ | PROT_WRITE);
  }
  int refusal = open_pages(guard, first, count);
  guard->mappings += guard->is_whole_open ? 0 : 2;
  return refusal;
}

/* Protects every page, those too whose states are dirty. Returns 0 or errno. */
static int protect_whole(struct guard *guard) {
  guard->figures[IS_BLUNT] = 1;
  guard->is_whole_open = 0;
  guard->mappings = 0;
  return protect_pages(guard, 0, atomic_load(&guard->covered), PROT_READ);
}

/*
 * The memory has this many pages now, and none of them is protected any more: V8 gives all of a memory that grows the access of what is
 * new. Those whose states are clean are protected again. Returns 0 or errno.
 */
int page_guard_regrown(int index, size_t page_count) {
  struct guard *guard = &guards[index];
  atomic_store(&guard->covered, page_count);
  if (guard->figures[IS_BLUNT] != 0) return protect_whole(guard);
  const uint8_t *states = guard->states;
  for (size_t first = 0; first < page_count;) {
    size_t end = first + 1;
    while (end < page_count && states[end] == states[first]) end++;
    int refusal = states[first] == CLEAN ? protect_pages(guard, first, end - first, PROT_READ) : 0;
    if (refusal == ENOMEM) return protect_whole(guard);
    if (refusal != 0) return refusal;
    first = end;
  }
  count_mappings(guard);
  return 0;
}

/*
 * From now on these pages are being saved; `count` 0: none. They are protected by now, unless everything had to be opened: then
 * everything is protected once more, and goes on counting as written. Returns 0 or errno.
 */
int page_guard_save(int index, size_t count, const uint32_t *pages, int32_t *states, uint8_t *copies, int32_t copies_max,
                    int32_t *figures) {
  struct guard *guard = &guards[index];
  guard->save.count = 0;
  guard->save.pages = pages;
  guard->save.states = (_Atomic int32_t *)states;
  guard->save.copies = copies;
  guard->save.copies_max = copies_max;
  guard->save.words = figures;
  guard->save.figures = (double *)figures;
  guard->save.count = count;
  return count > 0 && guard->is_whole_open ? protect_whole(guard) : 0;
}

/* Nothing is protected any more, and faults are no concern of the guard's. Returns 0 or errno. */
int page_guard_close(int index) {
  struct guard *guard = &guards[index];
  size_t covered = atomic_exchange(&guard->covered, 0);
  guard->save.count = 0;
  int refusal = protect_pages(guard, 0, covered, PROT_READ | PROT_WRITE);
  atomic_store(&guard->is_taken, 0);
  return refusal;
}
