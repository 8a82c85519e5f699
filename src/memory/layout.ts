/**
 * Where everything lies in the one WebAssembly.Memory of a machine.
 *
 *   0                                                                             biasBytes
 *   ├── control region ───────────────────────────────────────────────────────────┤├── guest memory ────┤
 *   │ words │ scratch │ globals save area │ page states │ stack save area │ staging │ guest address 0 …
 *
 * The rewritten program adds `biasBytes` to the immediate offset of every access, so that the guest cannot name an
 * address of the control region: an effective address is at least the bias, and it traps exactly where the guest's
 * own would, because the memory ends where the guest's ends.
 *
 * All units are bytes of the memory unless a name says otherwise.
 */

/** Bytes of a page: the unit of dirty tracking, paging and checkpoints (the 64 KiB unit is always `wasmPage`). */
export const PAGE_BYTES = 4096;
export const PAGE_SHIFT = 12;
export const WASM_PAGE_BYTES = 65536;
export const PAGES_PER_WASM_PAGE = WASM_PAGE_BYTES / PAGE_BYTES;

/** Values of the poll word. Anything but `running` makes the guest leave its loop at the next safepoint. */
export const PollState = {
  /** The guest runs. */
  running: 0,
  /** A capture was asked for; set by any thread with a compare-and-exchange from `running`. */
  requested: 1,
  /** Frames are being saved; set by the guest itself, cleared by the machine before it resumes. */
  unwinding: 2,
} as const;

/** Values of a page state byte. The software tracker's store writes `dirty`; nothing in the guest writes `clean`. */
export const PageState = { clean: 0, dirty: 1 } as const;

/**
 * Values of a page state byte where the guest has fewer frames than pages: what the guest may do with the page without
 * asking. Bits, so that the states of the two pages of an access that crosses from one to the next can be joined by `and`.
 *
 * The guest itself raises `readable` to `writable` at its first write; everything else is the pager's.
 */
export const PageAccess = {
  /** Absent, or resident in the inactive queue: the pager must be asked. */
  none: 0,
  /** Resident and equal to what its slot holds, or at least not known to differ. */
  readable: 1,
  /** Resident and dirty. */
  writable: 3,
} as const;

/** Pages that strips of the guest pin at most, and all pins together; a pager needs a few frames more than that. */
export const STRIP_PINS_MAX = 12;
export const PINS_MAX = 14;
export const FRAMES_MIN = 16;
export const NOT_PINNED = 0xffff_ffff;

export const controlRegion = {
  /** i32: a `PollState`. */
  pollWord: 0x40,
  /** i32: address just above the newest frame of the stack save area. */
  saveAreaPointer: 0x44,
  /** i32: number of references put aside in the tables of saved references, which memory cannot hold. */
  savedReferenceCount: 0x48,
  /** i32: safepoints left to pass before the guest captures itself; only looked at by a module rewritten to count. */
  safepointCountdown: 0x4c,
  /** i32: 1 while frames are being saved. A word of its own, so that the test after a call is a load and a branch. */
  unwindingWord: 0x50,
  /**
   * i32: not 0 while the pager must hear of first writes: the guest then raises no page from readable to writable by itself.
   * Only looked at where a page may not be written without asking.
   */
  protectionWord: 0x54,
  /**
   * PINS_MAX × u32: pages that the guest accesses without asking again, until it names others here: those of the strip that
   * it runs, of the piece that it copies. A pager takes neither frame nor access from them. `NOT_PINNED` is none.
   */
  pins: 0x80,
  /** i32: times the guest raised a page from readable to writable. */
  firstWrites: 0xc0,
  /** Bytes a host function may use as it likes while the guest is stopped. */
  scratch: 0x1000,
  scratchBytes: 0x7000,
  /** One byte per segment that the code can drop, 1 once it did: data segments first, element segments in the second half. */
  droppedSegments: 0x8000,
  droppedSegmentsBytes: 0x8000,
  /** One 16-byte cell per mutable global of number or vector type, in order of global index. */
  globals: 0x1_0000,
  globalsBytes: 0xf_0000,
  /** One byte per page of the guest: a `PageState`, or a `PageAccess` where pages are paged. */
  pageStates: 0x10_0000,
  pageStatesBytes: 0x10_0000,
  /**
   * The room behind the state bytes up to here is always zero: the index of an access that is not aligned lies in it (see
   * `rewrite/page-check.ts`), so that alignment and state are one test.
   */
  pageStatesWindowBytes: 0x100_0000,
  /**
   * Captured frames, the innermost first, growing upward. A frame is written before its end is checked: it may reach
   * into the staging area, which is larger than any frame and not in use while the guest runs.
   */
  saveArea: 0x110_0000,
  saveAreaBytes: 0xe0_0000,
  /** Pages on their way to or from the paging file, gathered so that one system call moves a whole run of slots. */
  staging: 0x1f0_0000,
  stagingBytes: 0x10_0000,
} as const;

/** Guest address 0 in the machine's memory. */
export const BIAS_BYTES = 0x200_0000;
export const BIAS_WASM_PAGES = BIAS_BYTES / WASM_PAGE_BYTES;

/**
 * The largest memory of a guest. One 64 KiB unit short of 4 GiB, so that the address 2³² − 1 is always out of bounds
 * and a clamped immediate offset traps.
 */
export const MAX_GUEST_WASM_PAGES = 65535 - BIAS_WASM_PAGES;
