/** Protection of pages by mprotect(2) and a handler of SIGSEGV in the thread that writes: the binding of `native/page-guard.c`. */
import { fileURLToPath } from 'node:url';
import { libraryCalls, loadLibrary, SystemRefusal } from './c-library.ts';

/** The same place seen from `src/kernel`, `dist/kernel` and `dist/command`. There is none where no C compiler was found. */
const LIBRARY_URL = new URL('../../dist/native/page-guard.so', import.meta.url);

function loadGuardCalls() {
  // Where the system cannot be called at all, that is the reason.
  libraryCalls();
  const library = loadBuilt();
  return {
    open: library.func('int page_guard_open(uintptr_t base, size_t pagesMax, void *states, void *figures, size_t max)'),
    mappingsMax: library.func('size_t page_guard_mappings_max()'),
    isHeard: library.func('int page_guard_is_heard()'),
    protect: library.func('int page_guard_protect(int guard, size_t first, size_t count)'),
    release: library.func('int page_guard_release(int guard, size_t first, size_t count)'),
    regrown: library.func('int page_guard_regrown(int guard, size_t pageCount)'),
    save: library.func(
      'int page_guard_save(int guard, size_t count, void *pages, void *states, void *copies, int copiesMax, void *words)',
    ),
    close: library.func('int page_guard_close(int guard)'),
  };
}

function loadBuilt(): ReturnType<typeof loadLibrary> {
  try {
    return loadLibrary(fileURLToPath(LIBRARY_URL));
  } catch (error) {
    const reason = error instanceof Error ? error.message.split('\n', 1)[0] : String(error);
    const text = `its library, which a C compiler makes when Continuo is installed or built, cannot be loaded (${reason})`;
    throw new Error(text, { cause: error });
  }
}

let loaded: ReturnType<typeof loadGuardCalls> | undefined;

/** @throws Error: the library was not built, or there is no package to load it by. */
function guardCalls(): ReturnType<typeof loadGuardCalls> {
  loaded ??= loadGuardCalls();
  return loaded;
}

/** What a guard shares with its handler. All of it stays where it is, and is kept as long as the guard is open. */
export interface GuardedMemory {
  /** The first page. */
  readonly base: number;
  readonly pagesMax: number;
  /** A `PageState` each. */
  readonly states: Uint8Array;
  /** As `page-guard.c` says. */
  readonly figures: SharedArrayBuffer;
}

/** Pages that are being saved, as the handler needs them: `PendingBuffers`, seen from here. */
export interface GuardedSave {
  readonly count: number;
  readonly pages: SharedArrayBuffer;
  readonly states: SharedArrayBuffer;
  readonly room: { readonly copies: SharedArrayBuffer; readonly figures: SharedArrayBuffer };
}

const PAGE_BYTES = 4096;
const EAGAIN = 11;
const NOTHING = new Uint8Array(new SharedArrayBuffer(8));

/** The protection of one memory, by the thread that writes to it. */
export class PageGuard {
  /** The most mappings that its pages may take. */
  readonly mappingsMax: number;
  /** What the handler has addresses of must not be given back by a garbage collection: so it is referenced here. */
  readonly memory: GuardedMemory;
  saved: GuardedSave | undefined;
  readonly #guard: number;

  /**
   * `mappingsMax`: undefined for what the system allows, less what others need.
   * @throws Error: there is no library; SystemRefusal.
   */
  constructor(memory: GuardedMemory, mappingsMax?: number) {
    const calls = guardCalls();
    this.mappingsMax = mappingsMax ?? Number(calls.mappingsMax());
    this.memory = memory;
    const { base, pagesMax, states, figures } = memory;
    const guard = Number(calls.open(base, pagesMax, states, new Uint8Array(figures), this.mappingsMax));
    if (guard === -EAGAIN)
      throw new Error('a process has no more than 64 memories that are protected by mprotect at once');
    if (guard < 0) throw new SystemRefusal('sigaction of SIGSEGV', -guard);
    this.#guard = guard;
  }

  /** Whether writes to protected pages still come to our handler first, and not to one that was installed after it. */
  get isHeard(): boolean {
    return Number(guardCalls().isHeard()) !== 0;
  }

  /** Their states are `clean` by now; pages of other states may become protected, too, and are to be released then. */
  protect(first: number, count: number): void {
    check('mprotect', guardCalls().protect(this.#guard, first, count));
  }

  /** Their states become `dirty`, and others' where it takes too many mappings. */
  release(first: number, count: number): void {
    check('mprotect', guardCalls().release(this.#guard, first, count));
  }

  /** The memory has grown to so many pages; those whose states are `clean` are protected, as before. */
  regrown(pageCount: number): void {
    check('mprotect', guardCalls().regrown(this.#guard, pageCount));
  }

  /** The handler keeps pages for this save before they are written; undefined: there is none. */
  save(save: GuardedSave | undefined): void {
    const { save: start } = guardCalls();
    if (save === undefined) start(this.#guard, 0, NOTHING, NOTHING, NOTHING, 0, NOTHING);
    else {
      const { copies, figures } = save.room;
      const views = [save.pages, save.states, copies].map((buffer) => new Uint8Array(buffer));
      const copiesMax = Math.floor(copies.byteLength / PAGE_BYTES);
      check('mprotect', start(this.#guard, save.count, ...views, copiesMax, new Uint8Array(figures)));
    }
    this.saved = save;
  }

  /** Nothing is protected any more. */
  close(): void {
    this.saved = undefined;
    check('mprotect', guardCalls().close(this.#guard));
  }
}

function check(call: string, errno: unknown): void {
  if (errno !== 0) throw new SystemRefusal(call, Number(errno));
}
