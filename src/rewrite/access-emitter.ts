import type { ByteWriter } from '../wasm/byte-writer.ts';
import type { BodyDecoder } from '../wasm/function-body.ts';
import { Op, accessBytesOf, isStore, popsOf } from '../wasm/opcode.ts';
import { emitBiasedAccess, emitEndlessWait, emitMark, isWait } from './access-code.ts';
import type { CountedLoop } from './counted-loop.ts';
import { type LocalPool, Scratch } from './local-pool.ts';
import { emitPageCheck, emitRaise } from './page-check.ts';
import type { StripStreams } from './strip-code.ts';

/**
 * How accesses to guest memory become known: `software`, by a mark beside each store; `paged`, by a check before each
 * access, since the page may be absent; `protected`, in the same way, and no page is raised to writable without a check, so
 * that the pager can hear of every first write; `singly`, the same without strips that ask ahead: pages are asked for in the order in
 * which the program uses them, as by faults; `none`, by someone else (the kernel, or no one).
 */
export type AccessTracking = 'software' | 'paged' | 'protected' | 'singly' | 'none';

/** Whether accesses are checked before they are made. */
export function checksAccesses(tracking: AccessTracking): boolean {
  return tracking === 'singly' || checksAhead(tracking);
}

/** Whether the head of a strip asks for the pages of its body. */
export function checksAhead(tracking: AccessTracking): boolean {
  return tracking === 'paged' || tracking === 'protected';
}

export interface AccessTarget {
  readonly tracking: AccessTracking;
  /** The function of ours that makes pages accessible; only where accesses are checked. */
  ensureFunction(): number;
}

/** Emits the loads and stores of a function, with what makes them known put before them. */
export class AccessEmitter {
  /** The loop whose strip is being emitted, if any: its head has done what its streams' accesses need. */
  strip: CountedLoop | undefined;
  readonly #code: ByteWriter;
  readonly #body: BodyDecoder;
  readonly #target: AccessTarget;
  readonly #locals: LocalPool;
  readonly #unlikelyBranches: number[];

  constructor(
    code: ByteWriter,
    body: BodyDecoder,
    target: AccessTarget,
    locals: LocalPool,
    unlikelyBranches: number[],
  ) {
    this.#code = code;
    this.#body = body;
    this.#target = target;
    this.#locals = locals;
    this.#unlikelyBranches = unlikelyBranches;
  }

  stripStreams(): StripStreams {
    const target = this.#target;
    if (target.tracking === 'software') return { kind: 'marked' };
    if (!checksAhead(target.tracking)) return { kind: 'none' };
    return { kind: 'checked', ensureFunction: target.ensureFunction(), unlikelyBranches: this.#unlikelyBranches };
  }

  /** Whether row `i` is an access that must mark or check its page. */
  #isTracked(i: number): boolean {
    const { op } = this.#body;
    switch (this.#target.tracking) {
      case 'software':
        return isStore[op[i]] === 1 && this.strip?.hoistedStores.has(i) !== true;
      case 'paged':
      case 'protected':
        return accessBytesOf[op[i]] > 0 && (this.strip?.hoistedAccesses.has(i) !== true || this.#isMarked(i));
      case 'singly':
        return accessBytesOf[op[i]] > 0;
      case 'none':
        return false;
    }
  }

  /** Whether row `i` is a store of one value that needs something before it. */
  isTrackedStore(i: number): boolean {
    const op = this.#body.op[i];
    return isStore[op] === 1 && popsOf[op] === 2 && this.#isTracked(i);
  }

  #isMarked(i: number): boolean {
    return this.strip?.markedStores.has(i) === true;
  }

  /** What goes before the access of row `i`, whose address is on the stack; leaves it in its local. */
  #emitTracking(i: number): number {
    const code = this.#code;
    const body = this.#body;
    const target = this.#target;
    const op = body.op[i];
    const address = this.#locals.local(Scratch.address);
    const offset = body.immediate[i];
    const bytes = accessBytesOf[op];
    if (target.tracking === 'software') {
      code.u8(Op.localTee).u32(address);
      emitMark(code, offset, bytes);
      return address;
    }
    code.u8(Op.localSet).u32(address);
    if (this.#isMarked(i) && target.tracking === 'paged') {
      emitRaise(code, address, offset, bytes);
      return address;
    }
    const aligned = 1 << body.immediate2[i] >= bytes;
    const ensureFunction = target.ensureFunction();
    const store = isStore[op] === 1;
    emitPageCheck(code, this.#unlikelyBranches, { address, offset, bytes, aligned, store, ensureFunction });
    return address;
  }

  emit(i: number): void {
    const body = this.#body;
    const code = this.#code;
    const op = body.op[i];
    if (popsOf[op] === 3) return this.#emitWithTwoValues(i);
    if (this.#isTracked(i)) {
      // A store, or a load into a lane, has a value above its address.
      const hasValue = popsOf[op] === 2;
      const value = hasValue ? this.#locals.local(Scratch.value, body.nodeType[body.stack[i]]) : 0;
      if (hasValue) code.u8(Op.localSet).u32(value);
      const address = this.#emitTracking(i);
      code.u8(Op.localGet).u32(address);
      if (hasValue) code.u8(Op.localGet).u32(value);
    }
    emitBiasedAccess(code, body, i);
  }

  /** A compare-and-exchange or a wait: two values lie above the address. */
  #emitWithTwoValues(i: number): void {
    const body = this.#body;
    const code = this.#code;
    const top = body.stack[i];
    const second = this.#locals.local(Scratch.second, body.nodeType[top]);
    const value = this.#locals.local(Scratch.value, body.nodeType[body.nodeBelow[top]]);
    code.u8(Op.localSet).u32(second).u8(Op.localSet).u32(value);
    let address: number;
    if (this.#isTracked(i)) address = this.#emitTracking(i);
    else code.u8(Op.localSet).u32((address = this.#locals.local(Scratch.address)));
    if (isWait(body.op[i])) emitEndlessWait(code, body, i, { address, expected: value, timeout: second });
    for (const local of [address, value, second]) code.u8(Op.localGet).u32(local);
    emitBiasedAccess(code, body, i);
  }

  /** Rows `i` (a local or constant) and `i + 1` (the store of it): the tracking goes before the value. */
  emitStoreOfSimpleValue(i: number): void {
    const address = this.#emitTracking(i + 1);
    this.#code.u8(Op.localGet).u32(address);
    this.#code.raw(this.#body.module.bytes, this.#body.start[i], this.#body.end[i]);
    emitBiasedAccess(this.#code, this.#body, i + 1);
  }
}
