/**
 * Records which pages a guest references, in the place of a pager: the guest is rewritten as one with fewer frames than
 * pages, all its pages are resident, and access is given to the pages of the last reference only, so that every other one
 * makes it ask.
 *
 * Definitions. A *reference* is an access of the guest to a page, or two neighbours, or a host function's use of a range.
 * A page is *open* while the guest has access to it: the pages of the last reference, and those that the guest has pinned
 * since they were referenced, because code that pins pages does not ask again.
 *
 * (1) Whatever the frames and the replacement, a pager that is given the references of the trace in their order gives
 *     access to every page that is open here: it takes none from pinned pages nor from those that it serves, and is asked
 *     nothing between two references. So what the guest does to open pages is nothing that a pager would be asked for.
 * (2) What a pager sees of open pages is noted before the next reference, hold, release or checkpoint: whether they were
 *     written, and whether they hold zeros. (Of pinned pages before they are closed: no pager writes those out sooner,
 *     and a checkpoint closes all.)
 *
 * A loop over a few arrays references their pages in turns, millions of times. Where the last references are the same ones as
 * those before them, a *repetition* is noted and the pages of all of them stay open. A pager that is given them again until it
 * serves none has given access to each, so (1) holds for them too, if the loop goes on for the one or two rounds that this
 * may take.
 *
 * Rejected: a hook beside each access. It would see repetitions that no pager can, at 5 to 20 times the cost.
 */
import type { DeviceFile } from '../device/device.ts';
import { assert } from '../error/errors.ts';
import type { JsonValue } from '../format/job-format.ts';
import { OtherEvent, REPEAT_MAX, TRACE_TRIGGERS, TraceEvent, type TraceTrigger } from '../format/trace-format.ts';
import type { GuestMemory, HostAccess } from '../memory/guest-memory.ts';
import {
  BIAS_BYTES,
  controlRegion,
  NOT_PINNED,
  PAGE_BYTES,
  PAGE_SHIFT,
  PageAccess,
  PINS_MAX,
} from '../memory/layout.ts';
import { TraceWriter } from './trace-writer.ts';

/** Two of each reference that repeats itself, and pinned ones. */
const OPEN_MAX = PINS_MAX + 2 * REPEAT_MAX;
const PAGE_WORDS = PAGE_BYTES / 4;
/** No page, and not what stands for none in the list of pins. */
const NO_PAGE = -2;

/** What a trace came to. */
export interface TraceSummary {
  readonly references: number;
  readonly checkpoints: number;
  readonly fileBytes: number;
}

export class TraceRecorder implements HostAccess {
  /** Why the trace cannot go on: the guest must not either. */
  failure: Error | undefined;
  readonly #writer: TraceWriter;
  readonly #memory: GuestMemory;
  readonly #access: Uint8Array;
  readonly #pins: Int32Array;
  readonly #firstWrites: Int32Array;
  /** Pins and first writes as they are noted. */
  readonly #notedPins = new Int32Array(PINS_MAX).fill(NOT_PINNED | 0);
  #pinsUsed = 0;
  #notedWrites = 0;
  readonly #open = new Int32Array(OPEN_MAX);
  /** The access that each open page is noted to have. */
  readonly #openAccess = new Uint8Array(OPEN_MAX);
  #openCount = 0;
  #guestBytes = 0;
  #words = new Int32Array(0);
  /** 1: the page is noted to hold something else than zeros. */
  #solid = new Uint8Array(0);
  /** The word of the page that was not zero when it was looked at last. */
  #solidWord = new Uint16Array(0);
  #holds = 0;
  #isHeld = false;
  /** Ranges that a host function may write until it returns: first and last page of each. */
  readonly #heldToWrite: number[] = [];
  /** The last references, each as page × 4 + crossing × 2 + write, in a ring; and how many before this one. */
  readonly #recent = new Int32Array(REPEAT_MAX).fill(-1);
  #references = 0;
  /** How many references in a row were the same as the one so many before it. */
  readonly #repeated = new Int32Array(REPEAT_MAX + 1);
  #checkpoints = 0;

  constructor(memory: GuestMemory, file: DeviceFile, description: JsonValue) {
    this.#memory = memory;
    this.#writer = new TraceWriter(file, description);
    const { buffer } = memory.memory;
    this.#access = new Uint8Array(buffer, controlRegion.pageStates, controlRegion.pageStatesBytes);
    this.#pins = new Int32Array(buffer, controlRegion.pins, PINS_MAX);
    this.#firstWrites = new Int32Array(buffer, controlRegion.firstWrites, 1);
    this.#grow();
  }

  /** As `Pager.fault`: called by the guest's own code; returns 0, or 1 when the trace has failed. */
  fault(address: number, lengthBytes: number, write: number): number {
    if (this.failure !== undefined) return 1;
    try {
      if (this.#isHeld) this.releaseHolds();
      const from = address >>> 0;
      const to = from + lengthBytes;
      if (to > this.#guestBytes) this.#grow();
      if (to > this.#guestBytes || lengthBytes <= 0) return 0;
      this.#refer(from >>> PAGE_SHIFT, (to - 1) >>> PAGE_SHIFT, write !== 0);
    } catch (error) {
      this.#fail(error);
      return 1;
    }
    return 0;
  }

  hold(address: number, lengthBytes: number, write: boolean): void {
    if (lengthBytes === 0) return;
    if (this.failure !== undefined) throw this.failure;
    const to = address + lengthBytes;
    if (to > this.#guestBytes) this.#grow();
    const first = address >>> PAGE_SHIFT;
    this.#notePins(NO_PAGE);
    this.#close(NO_PAGE, NO_PAGE, true);
    this.#writer.other(write ? OtherEvent.holdToWrite : OtherEvent.holdToRead);
    this.#writer.number(address);
    this.#writer.number(lengthBytes);
    this.#holds += 1;
    this.#forgetRecent();
    this.#isHeld = true;
    if (write) this.#heldToWrite.push(first, (to - 1) >>> PAGE_SHIFT);
  }

  releaseHolds(): void {
    if (!this.#isHeld) return;
    this.#close(NO_PAGE, NO_PAGE, true);
    this.#noteHeld();
    this.#heldToWrite.length = 0;
    this.#isHeld = false;
    this.#writer.other(OtherEvent.release);
  }

  /** The guest stands at a safepoint, or has not begun, or has ended. */
  checkpoint(trigger: TraceTrigger, stateBytes: number): void {
    if (this.failure !== undefined) throw this.failure;
    this.#grow();
    this.#notePins(NO_PAGE);
    // Code that goes on from a safepoint asks for its pages anew, so the first reference after a checkpoint is seen.
    this.#close(NO_PAGE, NO_PAGE, false);
    this.#forgetRecent();
    this.#noteHeld();
    this.#writer.other(OtherEvent.checkpoint + TRACE_TRIGGERS.indexOf(trigger));
    this.#writer.number(stateBytes);
    this.#checkpoints += 1;
  }

  /** The trace is complete and durable. */
  finish(exited: boolean): TraceSummary {
    if (this.failure !== undefined) throw this.failure;
    this.#grow();
    const pageCount = this.#guestBytes / PAGE_BYTES;
    const [references, checkpoints] = [this.#references + this.#holds, this.#checkpoints];
    this.#writer.finish({ references, checkpoints, pageCount, exited: exited ? 1 : 0 });
    return { references, checkpoints, fileBytes: this.#writer.fileBytes };
  }

  #fail(error: unknown): void {
    this.failure = error instanceof Error ? error : new Error(String(error));
  }

  #refer(first: number, last: number, write: boolean): void {
    this.#notePins(first);
    this.#close(first, last, true);
    const crossing = first === last ? 0 : TraceEvent.readCrossing;
    this.#writer.reference(crossing + (write ? TraceEvent.write : TraceEvent.read), first);
    this.#give(first, write);
    if (last !== first) this.#give(last, write);
    const code = first * 4 + crossing + (write ? 1 : 0);
    const period = this.#periodOf(code);
    this.#recent[this.#references % REPEAT_MAX] = code;
    this.#references += 1;
    if (period > 0) this.#noteRepetition(period);
  }

  /** How many references repeat themselves for the second time with this one; 0: none. */
  #periodOf(code: number): number {
    const recent = this.#recent;
    const repeated = this.#repeated;
    let found = 0;
    for (let period = REPEAT_MAX; period > 1; period--) {
      const same = recent[(this.#references - period + REPEAT_MAX) % REPEAT_MAX] === code;
      repeated[period] = same ? repeated[period] + 1 : 0;
      if (repeated[period] >= period) found = period;
    }
    return found;
  }

  #noteRepetition(period: number): void {
    this.#repeated.fill(0);
    this.#writer.other(OtherEvent.repeat);
    this.#writer.number(period);
    for (let back = period; back > 1; back--) {
      const code = this.#recent[(this.#references - back + REPEAT_MAX) % REPEAT_MAX];
      const write = (code & 1) !== 0;
      this.#give(code >> 2, write);
      if ((code & 2) !== 0) this.#give((code >> 2) + 1, write);
    }
  }

  #give(page: number, write: boolean): void {
    let i = 0;
    while (i < this.#openCount && this.#open[i] !== page) i += 1;
    if (i === this.#openCount) {
      assert(i < OPEN_MAX, 'more pages are open than pins and one reference can name');
      this.#openCount += 1;
      this.#open[i] = page;
      this.#openAccess[i] = PageAccess.none;
    }
    if (!write && this.#openAccess[i] !== PageAccess.none) return;
    this.#openAccess[i] = write ? PageAccess.writable : PageAccess.readable;
    this.#access[page] = this.#openAccess[i];
  }

  /** `next`: the page of the reference that is about to be written. */
  #notePins(next: number): void {
    const pins = this.#pins;
    const noted = this.#notedPins;
    for (let place = 0; place < PINS_MAX; place++) {
      const page = pins[place];
      if (page === noted[place]) continue;
      noted[place] = page;
      // The most places in use so far: they are used from the first one on.
      if (place >= this.#pinsUsed) this.#pinsUsed = place + 1;
      this.#writer.pin(place, page, next);
    }
  }

  #isPinned(page: number): boolean {
    const noted = this.#notedPins;
    for (let place = 0; place < this.#pinsUsed; place++) if (noted[place] === page) return true;
    return false;
  }

  /** Notes what was done to open pages and closes them, but for those of the next reference and pinned ones. */
  #close(first: number, last: number, keepsPinned: boolean): void {
    let raised = this.#firstWrites[0] - this.#notedWrites;
    this.#notedWrites += raised;
    let kept = 0;
    for (let i = 0; i < this.#openCount; i++) {
      const page = this.#open[i];
      let access = this.#openAccess[i];
      if (access !== PageAccess.writable && this.#access[page] === PageAccess.writable) {
        this.#writer.pageEvent(TraceEvent.raise, page, raised > 0 ? 1 : 0);
        raised -= 1;
        access = PageAccess.writable;
      }
      if (page === first || page === last || (keepsPinned && this.#isPinned(page))) {
        this.#open[kept] = page;
        this.#openAccess[kept] = access;
        kept += 1;
        continue;
      }
      if (access === PageAccess.writable) this.#noteZeros(page);
      this.#access[page] = PageAccess.none;
    }
    this.#openCount = kept;
  }

  /** What repeats itself does so with nothing but references between. */
  #forgetRecent(): void {
    this.#recent.fill(-1);
    this.#repeated.fill(0);
  }

  #noteHeld(): void {
    for (let i = 0; i < this.#heldToWrite.length; i += 2) {
      for (let page = this.#heldToWrite[i]; page <= this.#heldToWrite[i + 1]; page++) this.#noteZeros(page);
    }
  }

  #noteZeros(page: number): void {
    const words = this.#words;
    const from = (BIAS_BYTES >>> 2) + page * PAGE_WORDS;
    let word = this.#solidWord[page];
    if (words[from + word] === 0) {
      word = 0;
      while (word < PAGE_WORDS && words[from + word] === 0) word += 1;
      this.#solidWord[page] = word === PAGE_WORDS ? 0 : word;
    }
    const solid = word === PAGE_WORDS ? 0 : 1;
    if (solid === this.#solid[page]) return;
    this.#solid[page] = solid;
    this.#writer.pageEvent(TraceEvent.zero, page, 1 - solid);
  }

  #grow(): void {
    const { lengthBytes, pageCount, memory } = this.#memory;
    if (lengthBytes === this.#guestBytes) return;
    this.#guestBytes = lengthBytes;
    this.#words = new Int32Array(memory.buffer);
    const solid = new Uint8Array(pageCount);
    solid.set(this.#solid);
    this.#solid = solid;
    const solidWord = new Uint16Array(pageCount);
    solidWord.set(this.#solidWord);
    this.#solidWord = solidWord;
    this.#writer.other(OtherEvent.grow);
    this.#writer.number(pageCount);
  }
}
