/*
 * A handler of SIGSEGV that was there before that of native/page-guard.c is called as if that were not there. Compiled together with it.
 *
 * Usage: chained-handlers siginfo|nodefer|plain|once|ignored|default. Prints "served" when a page of a guard was written, and "called" when
 * the handler was called for a fault outside and found all as it should be. `once`, `ignored` and `default` end by SIGSEGV after that.
 */
#include "../../native/page-guard.c"

#include <setjmp.h>
#include <stdlib.h>
#include <unistd.h>

#define PAGES 4
static char other_stack[1 << 16];
static sigjmp_buf after;
static char *outside;
static int flags;

static void fail(const char *what) {
  fprintf(stderr, "%s\n", what);
  _exit(1);
}

static void check_place(void) {
  char here;
  int is_other = &here >= other_stack && &here < other_stack + sizeof other_stack;
  if (is_other != !!(flags & SA_ONSTACK)) fail("on the wrong stack");
  sigset_t blocked;
  sigprocmask(SIG_BLOCK, 0, &blocked);
  if (sigismember(&blocked, SIGSEGV) != !(flags & SA_NODEFER)) fail("SIGSEGV is blocked, or not, as it should not be");
  if (!sigismember(&blocked, SIGUSR1) || sigismember(&blocked, SIGUSR2)) fail("under another mask");
}

static void with_information(int number, siginfo_t *information, void *context) {
  check_place();
  if (number != SIGSEGV || information->si_addr != outside || context == 0) fail("told something else");
  siglongjmp(after, 1);
}

static void without_information(int number) {
  check_place();
  if (number != SIGSEGV) fail("told something else");
  siglongjmp(after, 1);
}

static void install_before(const char *kind) {
  struct sigaction action;
  memset(&action, 0, sizeof action);
  sigaddset(&action.sa_mask, SIGUSR1);
  action.sa_handler = without_information;
  if (strcmp(kind, "siginfo") == 0) flags = SA_SIGINFO | SA_ONSTACK;
  if (strcmp(kind, "nodefer") == 0) flags = SA_SIGINFO | SA_NODEFER;
  if (strcmp(kind, "once") == 0) flags = SA_RESETHAND | SA_ONSTACK;
  if (flags & SA_SIGINFO) action.sa_sigaction = with_information;
  if (strcmp(kind, "ignored") == 0) action.sa_handler = SIG_IGN;
  if (strcmp(kind, "default") == 0) action.sa_handler = SIG_DFL;
  action.sa_flags = flags;
  stack_t stack = {.ss_sp = other_stack, .ss_size = sizeof other_stack};
  if (sigaltstack(&stack, 0) != 0 || sigaction(SIGSEGV, &action, 0) != 0) fail("sigaction");
}

int main(int count, char **values) {
  const char *kind = count == 2 ? values[1] : "";
  install_before(kind);
  char *memory = mmap(0, PAGES * PAGE_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  outside = mmap(0, PAGE_BYTES, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  static uint8_t states[PAGES];
  static double figures[IS_BLUNT + 1];
  int guard = page_guard_open((uintptr_t)memory, PAGES, states, figures, 100);
  if (guard < 0 || page_guard_protect(guard, 0, PAGES) != 0) fail("no guard");

  for (int turn = 0; turn < 2; turn++) {
    errno = 77;
    memory[(turn + 1) * PAGE_BYTES + 5] = 1;
    if (states[turn + 1] != DIRTY || figures[FAULTS] != turn + 1 || errno != 77) fail("a page was not served");
    printf("served\n");
    fflush(stdout);
    if (strcmp(kind, "ignored") == 0) {
      /* Ignored where somebody sends it, and not where it is a fault. */
      raise(SIGSEGV);
      printf("called\n");
      fflush(stdout);
    }
    if (sigsetjmp(after, 1) == 0) {
      *outside = 1;
      fail("nothing happened");
    }
    printf("called\n");
    fflush(stdout);
  }
  return page_guard_close(guard);
}
