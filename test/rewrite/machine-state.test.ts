/** The captured state: said in terms of the original program, the same from every instance, safe to read when damaged. */
import { describe, expect, it } from 'vitest';
import { ContinuoError, CorruptionError } from '../../src/error/errors.ts';
import { GuestInstance } from '../../src/machine/guest-instance.ts';
import {
  type MachineState,
  type PagingFigures,
  decodeMachineState,
  encodeMachineState,
  pagingFigureNames,
} from '../../src/machine/machine-state.ts';
import { UnsavableReferenceError } from '../../src/machine/saved-references.ts';
import { captureState, restoreState } from '../../src/machine/state-capture.ts';
import { PositionKind } from '../../src/rewrite/function-plan.ts';
import type { RewriteOptions } from '../../src/rewrite/rewrite.ts';
import { Op } from '../../src/wasm/opcode.ts';
import { allOptions, optionsName } from '../support/capture-plan.ts';
import { generateProgram } from '../support/program-generator.ts';
import { Random } from '../support/random.ts';
import { RewrittenProgram } from '../support/rewritten-run.ts';
import { assemble } from '../support/wat.ts';

const figures = Object.fromEntries(pagingFigureNames.map((name, k) => [name, 1000 + k])) as PagingFigures;
const phase = { call: 3, finished: false, exitCode: -7, guestMs: 12.5, paging: figures };
const host = Uint8Array.of(1, 2, 3);

/** Loops in calls in loops, references, dropped segments, a table that changed. */
const wasm = assemble(`(module
  (table $t 4 funcref) (table $e 2 externref) (elem declare func $work) (elem $p func $work) (data $d "abc") (memory 1)
  (global $v (mut v128) (v128.const i32x4 1 2 3 4)) (global $f (mut f32) (f32.const nan:0x200001))
  (global $r (mut funcref) (ref.null func))
  (func $work (param $n i32) (param $r funcref) (result i32) (local $sum i64) (local $d f64)
    (local.set $d (f64.const 0.5))
    (loop $l
      (local.set $sum (i64.add (local.get $sum) (i64.extend_i32_u (local.get $n))))
      (local.set $d (f64.add (local.get $d) (f64.const 1)))
      (br_if $l (local.tee $n (i32.shr_u (local.get $n) (i32.const 1)))))
    (table.set $t (i32.const 1) (local.get $r))
    (i32.add (i32.wrap_i64 (local.get $sum)) (i32.trunc_f64_s (local.get $d))))
  (func (export "run") (param $n i32) (result i32) (local $k i32)
    (data.drop $d) (elem.drop $p) (global.set $r (ref.func $work))
    (local.set $k (local.get $n))
    (i32.const 1000)
    (loop $m (param i32) (result i32)
      (call $work (local.get $k) (global.get $r)) i32.add
      (br_if $m (local.tee $k (i32.shr_u (local.get $k) (i32.const 1)))))))`);
const program = new RewrittenProgram(wasm);

function instanceOf(from: RewrittenProgram, options: RewriteOptions, atOnce = false): GuestInstance {
  const { rewritten, compiled } = from.variant(options);
  const memory = GuestInstance.createMemory(from.module);
  const instance = new GuestInstance(rewritten, compiled, memory, {}, () => atOnce);
  instance.initialiseMemory();
  return instance;
}

/** The state after so many safepoints of `run`. */
function capturedAfter(safepoints: number, options: RewriteOptions): { instance: GuestInstance; state: MachineState } {
  const instance = instanceOf(program, options);
  instance.captureAfterSafepoints(safepoints);
  expect(instance.call(program.module.exports[0].index, [0xff]).captured).toBe(true);
  return { instance, state: captureState(instance, phase, host) };
}

const counting: RewriteOptions = { tracking: 'software', counting: true };

it('is encoded and decoded without loss', () => {
  for (const safepoints of [0, 5, 11, 20]) {
    const { state } = capturedAfter(safepoints, counting);
    expect(decodeMachineState(encodeMachineState(state))).toEqual(state);
  }
});

it('is read as version 2 wrote it, which had neither exceptions nor failures', () => {
  const { state } = capturedAfter(11, counting);
  const bytes = Buffer.from(encodeMachineState(state));
  const more = encodeMachineState({ ...state, savedExceptions: [{ tagNumber: 1, values: new Uint8Array(0) }] });
  const countAt = bytes.findIndex((byte, k) => byte !== more[k]);
  expect([bytes[0], bytes[countAt], more[countAt]]).toEqual([3, 0, 1]);
  const failed = encodeMachineState({ ...state, phase: { ...state.phase, failures: 1 } });
  const failuresAt = bytes.findIndex((byte, k) => byte !== failed[k]);
  expect([bytes[failuresAt], failed[failuresAt]]).toEqual([0, 1]);
  const older = Buffer.concat([
    bytes.subarray(0, failuresAt),
    bytes.subarray(failuresAt + 1, countAt),
    bytes.subarray(countAt + 1),
  ]);
  older[0] = 2;
  expect(decodeMachineState(new Uint8Array(older))).toEqual(state);
});

it('is the same bytes from every instance, however it was rewritten', () => {
  for (const safepoints of [0, 3, 12]) {
    const states = (['software', 'none'] as const).map((tracking) =>
      encodeMachineState(capturedAfter(safepoints, { tracking, counting: true }).state),
    );
    expect(states[1]).toEqual(states[0]);
  }
  const uncounted = (['software', 'none'] as const).map((tracking) => {
    const instance = instanceOf(program, { tracking, counting: false }, true);
    instance.call(program.module.exports[0].index, [0xff]);
    return encodeMachineState(captureState(instance, phase, host));
  });
  expect(uncounted[0]).toEqual(encodeMachineState(capturedAfter(0, counting).state));
  expect(uncounted[1]).toEqual(uncounted[0]);
});

it('names instructions of the original program', () => {
  for (const safepoints of [0, 4, 9, 17]) {
    const { state } = capturedAfter(safepoints, counting);
    for (const { functionIndex, position, kind } of state.layouts) {
      const [start, end] = program.module.bodies.subarray(2 * functionIndex, 2 * functionIndex + 2);
      expect(position).toBeGreaterThanOrEqual(start);
      expect(position).toBeLessThan(end);
      expect(program.module.bytes[position]).toBe(kind === PositionKind.before ? Op.loop : Op.call);
    }
  }
});

it('saves no local that is dead', () => {
  // At the loop of `work`, $r is read later and $sum, $d and $n are carried; at the call of `run`, $k is and $n is not.
  const { state } = capturedAfter(3, counting);
  expect(state.layouts.map(({ functionIndex, locals }) => [functionIndex, locals])).toEqual([
    [1, [1]],
    [0, [0, 1, 2, 3]],
  ]);
  expect(state.layouts[0].stackTypes).toEqual([0x7f]);
});

it.each(allOptions.map((options) => [optionsName(options), options] as const))('goes on with %s', (_, options) => {
  const { instance, state } = capturedAfter(13, counting);
  const fresh = instanceOf(program, options);
  fresh.guestMemory.write(0, instance.guestMemory.read(0, 65536));
  restoreState(fresh, decodeMachineState(encodeMachineState(state)));
  const { rewritten, compiled } = program.variant(counting);
  const plainly = new GuestInstance(rewritten, compiled, GuestInstance.createMemory(program.module), {});
  plainly.initialiseMemory();
  expect(fresh.resume()).toEqual(plainly.call(program.module.exports[0].index, [0xff]));
});

describe('references that belong to the host', () => {
  it.each([
    ['an object', {}],
    ['a function of JavaScript', () => 1],
    ['a function with a number for a name', Object.defineProperty(() => 1, 'name', { value: '0' })],
    ['a function with a large number for a name', Object.defineProperty(() => 1, 'name', { value: '123456' })],
    ['a function of another instance', new WebAssembly.Instance(new WebAssembly.Module(wasm)).exports['run']],
  ])('%s: the state cannot be saved, and says so', (_, object) => {
    const holder = new RewrittenProgram(
      assemble(`(module (global $x (mut externref) (ref.null extern))
        (func (export "run") (param $n i32) (param $x externref) (result externref)
          (global.set $x (local.get $x))
          (loop $l (br_if $l (local.tee $n (i32.shr_u (local.get $n) (i32.const 1)))))
          (local.get $x)))`),
    );
    const instance = instanceOf(holder, counting);
    instance.captureAfterSafepoints(2);
    expect(instance.call(0, [0xff, object]).captured).toBe(true);
    expect(() => captureState(instance, phase, host)).toThrow(UnsavableReferenceError);
    // The instance itself is none the worse for it.
    instance.captureAfterSafepoints(1000);
    expect(instance.resume()).toEqual({ captured: false, result: object });
  });
});

describe('damaged', () => {
  const SEED = 7;
  const programs = [program, ...[3, 5, 8].map((seed) => new RewrittenProgram(generateProgram(seed).wasm))];

  it('bytes are refused as corrupt, or are a state that an instance takes or refuses', () => {
    const random = new Random(SEED);
    const { state } = capturedAfter(13, counting);
    const bytes = encodeMachineState(state);
    let refused = 0;
    for (let time = 0; time < 400; time++) {
      const damaged = time < bytes.length ? bytes.slice(0, time) : new Uint8Array(bytes);
      if (time >= bytes.length || time % 2 === 0) {
        for (let k = 1 + random.below(3); k > 0; k--) damaged[random.below(damaged.length)] = random.below(256);
      }
      try {
        restoreState(instanceOf(program, counting), decodeMachineState(damaged));
      } catch (error) {
        expect(error, String(error instanceof Error ? error.stack : error)).toBeInstanceOf(CorruptionError);
        refused++;
      }
    }
    expect(refused).toBeGreaterThan(200);
  });

  it('a state of another program is refused', () => {
    const { state } = capturedAfter(13, counting);
    for (const other of programs.slice(1)) {
      const { rewritten, compiled } = other.variant(counting);
      const imports: Record<string, WebAssembly.ModuleImports> = { host: {} };
      for (const { name } of other.module.imports) imports['host'][name] = () => 0;
      const instance = new GuestInstance(rewritten, compiled, GuestInstance.createMemory(other.module), imports);
      expect(() => restoreState(instance, state)).toThrow(ContinuoError);
    }
  });
});
