import { PAGE_BYTES, PAGE_SHIFT, PageState, controlRegion } from '../memory/layout.ts';
import type { ByteWriter } from '../wasm/byte-writer.ts';
import { Op } from '../wasm/opcode.ts';
import type { CountedLoop } from './counted-loop.ts';
import type { AccessStream, StoreStream } from './loop-streams.ts';
import { emitAccessTest } from './page-check.ts';

/**
 * The head of a strip. A counted loop becomes two:
 *
 *     loop $outer
 *       poll                                       ;; once a strip
 *       iterations = STRIP_ITERATIONS_MAX          ;; and for each stream of stores:
 *       mark the page of the stream's address
 *       iterations = min(iterations, iterations left in that page)
 *       limit = the bound, or where the induction local stands after so many iterations
 *       loop $inner
 *         the original body, its bound replaced by limit, its streams' stores without marks
 *       end
 *       original condition; br_if $outer
 *     end
 *
 * The inner loop never runs more than `iterations`, whatever the values: the marks depend on it. With span =
 * iterations × step and i the induction local at the strip's head:
 *
 *   i ≠ N   limit = i + span where N lies beyond it or is never met exactly, else N
 *   i < N   limit = i + span where N lies beyond it, else N. Where N is not above i, or the last step might overflow, the
 *           loop is taken one iteration at a time: no iteration when it is tested at the top and i is not below N.
 */
export interface StripLocals {
  readonly limit: number;
  readonly iterations: number;
  /** Scratch: an address, and the iterations that it has left in its page. */
  readonly address: number;
  readonly left: number;
}

/** Bounds the time between polls; more than a page has bytes would not lengthen any strip with stores. */
export const STRIP_ITERATIONS_MAX = 8192;

/** Whether the bound of a comparison `<` is so near the type's end that a step past it may overflow, if known. */
export interface KnownBound {
  /** The bound's value when it is a constant. */
  readonly value: number | undefined;
}

/** What the head does for the body's accesses. */
export type StripStreams =
  | { readonly kind: 'none' }
  /** Marks the pages of stores dirty. */
  | { readonly kind: 'marked' }
  /** Makes the pages of loads and stores resident, and pins them until the next strip. */
  | { readonly kind: 'checked'; readonly ensureFunction: number; readonly unlikelyBranches: number[] };

export function emitStripHead(
  code: ByteWriter,
  loop: CountedLoop,
  locals: StripLocals,
  streams: StripStreams,
  emitBound: () => void,
  bound: KnownBound,
): void {
  code.u8(Op.i32Const).s32(iterationLimit(loop)).u8(Op.localSet).u32(locals.iterations);
  if (streams.kind === 'marked') for (const stream of loop.streams) emitStream(code, stream, locals);
  else if (streams.kind === 'checked') emitCheckedStreams(code, loop.accessStreams, locals, streams);
  if (loop.condition === 'ne') emitNotEqualLimit(code, loop, locals, emitBound);
  else emitOrderedLimit(code, loop, locals, emitBound, bound);
  code.u8(Op.localSet).u32(locals.limit);
}

/** Iterations × step must stay far below 2³¹. */
function iterationLimit(loop: CountedLoop): number {
  return Math.min(STRIP_ITERATIONS_MAX, Math.floor(2 ** 28 / Math.abs(loop.step)));
}

function emitStream(code: ByteWriter, stream: StoreStream, locals: StripLocals): void {
  emitAddress(code, stream, stream.low);
  emitMarkAndBound(code, stream, locals);
  if (stream.high === stream.low) return;
  code
    .u8(Op.localGet)
    .u32(locals.address)
    .u8(Op.i32Const)
    .s32((stream.high - stream.low) | 0)
    .u8(Op.i32Add);
  emitMarkAndBound(code, stream, locals);
}

function emitAddress(code: ByteWriter, stream: StoreStream, constant: number): void {
  code.u8(Op.i32Const).s32(constant | 0);
  for (const { global, index, coefficient } of stream.terms) {
    code.u8(global ? Op.globalGet : Op.localGet).u32(index);
    if (coefficient !== 1) code.u8(Op.i32Const).s32(coefficient).u8(Op.i32Mul);
    code.u8(Op.i32Add);
  }
}

/** The address is on the stack: marks its page, and bounds the iterations by those that stay in it. */
function emitMarkAndBound(code: ByteWriter, stream: StoreStream, locals: StripLocals): void {
  code.u8(Op.localTee).u32(locals.address).pair(Op.i32Const, PAGE_SHIFT).u8(Op.i32ShrU);
  code.pair(Op.i32Const, PageState.dirty).pair(Op.i32Store8, 0).u32(controlRegion.pageStates);
  emitIterationsInPage(code, stream, locals);
}

/**
 * Each stream touches the pages of its first and its last byte, which are the same or neighbours. A stream that moves
 * upward stays in them while its last byte stays in its page, one that moves downward while its first byte does.
 *
 * All pages are pinned before they are asked for, so none of them leaves while the others come; and accesses in the body
 * that belong to no stream may bring pages in, but take none of these.
 */
function emitCheckedStreams(
  code: ByteWriter,
  streams: readonly AccessStream[],
  locals: StripLocals,
  { ensureFunction, unlikelyBranches }: Extract<StripStreams, { kind: 'checked' }>,
): void {
  const { address } = locals;
  const emitPage = (): void => {
    code.u8(Op.localGet).u32(address).pair(Op.i32Const, PAGE_SHIFT).u8(Op.i32ShrU);
  };
  let pin: number = controlRegion.pins;
  const emitPinned = (writes: boolean): void => {
    code.pair(Op.i32Const, 0);
    emitPage();
    code.pair(Op.i32Store, 2).u32(pin);
    pin += 4;
    emitPage();
    code.pair(Op.i32Load8U, 0).u32(controlRegion.pageStates);
    emitAccessTest(code, writes);
    unlikelyBranches.push(code.length);
    code.pair(Op.if, 0x40).u8(Op.localGet).u32(address);
    code.pair(Op.i32Const, 1).pair(Op.i32Const, writes ? 1 : 0);
    code.u8(Op.call).u32(ensureFunction).u8(Op.end);
  };
  for (const stream of streams) {
    emitAddress(code, stream, stream.low);
    code.u8(Op.localSet).u32(address);
    emitPinned(stream.writes);
    if (stream.step < 0) emitIterationsInPage(code, stream, locals);
    if (stream.high > stream.low) {
      code
        .u8(Op.localGet)
        .u32(address)
        .u8(Op.i32Const)
        .s32(stream.high - stream.low);
      code.u8(Op.i32Add).u8(Op.localSet).u32(address);
      emitPinned(stream.writes);
    }
    if (stream.step > 0) emitIterationsInPage(code, stream, locals);
  }
}

/** Bounds the iterations by those for which the address in its local stays in its page. */
function emitIterationsInPage(
  code: ByteWriter,
  { step }: StoreStream,
  { address, iterations, left }: StripLocals,
): void {
  if (step === 0) return;
  code.u8(Op.localGet).u32(address);
  // Upward, (4095 − offset in page) ÷ step + 1 iterations are left; 4095 − x is the complement of x.
  if (step > 0) code.pair(Op.i32Const, 0x7f).u8(Op.i32Xor);
  code
    .u8(Op.i32Const)
    .s32(PAGE_BYTES - 1)
    .u8(Op.i32And);
  emitDivide(code, Math.abs(step));
  code.pair(Op.i32Const, 1).u8(Op.i32Add);
  code.u8(Op.localTee).u32(left).u8(Op.localGet).u32(iterations);
  code.u8(Op.localGet).u32(left).u8(Op.localGet).u32(iterations).u8(Op.i32LtU);
  code.u8(Op.select).u8(Op.localSet).u32(iterations);
}

function emitDivide(code: ByteWriter, by: number): void {
  if (by === 1) return;
  const shift = Math.log2(by);
  if (Number.isInteger(shift)) code.pair(Op.i32Const, shift).u8(Op.i32ShrU);
  else code.u8(Op.i32Const).s32(by).u8(Op.i32DivU);
}

function emitSpan(code: ByteWriter, step: number, iterations: number): void {
  code.u8(Op.localGet).u32(iterations);
  if (step !== 1) code.u8(Op.i32Const).s32(step).u8(Op.i32Mul);
}

function emitNotEqualLimit(code: ByteWriter, loop: CountedLoop, locals: StripLocals, emitBound: () => void): void {
  const { induction, step, testedAtTop } = loop;
  const magnitude = Math.abs(step);
  // Distance to the bound in the direction of the step, modulo 2³².
  const emitDistance = (): void => {
    if (step > 0) emitBound();
    code.u8(Op.localGet).u32(induction);
    if (step < 0) emitBound();
    code.u8(Op.i32Sub);
  };
  code.u8(Op.localGet).u32(induction);
  emitSpan(code, step, locals.iterations);
  code.u8(Op.i32Add);
  emitBound();
  // A distance of 0 is a whole round of 2³²: one less than it is the largest number there is.
  emitDistance();
  code.pair(Op.i32Const, 1).u8(Op.i32Sub);
  emitSpan(code, magnitude, locals.iterations);
  code.u8(Op.i32GeU);
  if (magnitude !== 1) {
    emitDistance();
    if (Number.isInteger(Math.log2(magnitude)))
      code
        .u8(Op.i32Const)
        .s32(magnitude - 1)
        .u8(Op.i32And);
    else code.u8(Op.i32Const).s32(magnitude).u8(Op.i32RemU);
    code.u8(Op.i32Or);
  }
  if (testedAtTop) {
    // `or` above left any non-zero number: make it a truth value before the `and`.
    if (magnitude !== 1) code.pair(Op.i32Const, 0).u8(Op.i32Ne);
    code.u8(Op.localGet).u32(induction);
    emitBound();
    code.u8(Op.i32Ne).u8(Op.i32And);
  }
  code.u8(Op.select);
}

function emitOrderedLimit(
  code: ByteWriter,
  loop: CountedLoop,
  locals: StripLocals,
  emitBound: () => void,
  bound: KnownBound,
): void {
  const { induction, step, testedAtTop, condition } = loop;
  const signed = condition === 'lt_s';
  const lowest = signed ? -0x80000000 : 0;
  const highestSafe = (signed ? 0x7fffffff : 0xffffffff) - step;
  const safeIsKnown =
    step === 1 || (bound.value !== undefined && (signed ? bound.value : bound.value >>> 0) <= highestSafe);
  // select(select(select(i + span, N, N − i > span), one iteration, N is safe), none, i < N)
  code.u8(Op.localGet).u32(induction);
  emitSpan(code, step, locals.iterations);
  code.u8(Op.i32Add);
  emitBound();
  emitBound();
  code.u8(Op.localGet).u32(induction).u8(Op.i32Sub);
  emitSpan(code, step, locals.iterations);
  code.u8(Op.i32GtU).u8(Op.select);
  if (!safeIsKnown) {
    if (testedAtTop) code.u8(Op.localGet).u32(induction).pair(Op.i32Const, 1).u8(Op.i32Add);
    else code.u8(Op.i32Const).s32(lowest);
    emitBound();
    code
      .u8(Op.i32Const)
      .s32(highestSafe | 0)
      .u8(signed ? Op.i32LeS : Op.i32LeU)
      .u8(Op.select);
  }
  code.u8(Op.i32Const).s32(lowest);
  code.u8(Op.localGet).u32(induction);
  emitBound();
  code.u8(signed ? Op.i32LtS : Op.i32LtU).u8(Op.select);
}
