/** References to exceptions beyond one instance: exceptions of the host, saved instances, damaged states. */
import { describe, expect, it } from 'vitest';
import { ContinuoError, CorruptionError } from '../../src/error/errors.ts';
import { type EmbeddedInstance, instantiateNow } from '../../src/index.ts';
import { hasExceptionsByReference } from '../../src/machine/engine-features.ts';
import { GuestInstance } from '../../src/machine/guest-instance.ts';
import { decodeMachineState, encodeMachineState } from '../../src/machine/machine-state.ts';
import { UnsavableReferenceError } from '../../src/machine/saved-references.ts';
import { captureState, restoreState } from '../../src/machine/state-capture.ts';
import { everySafepoint, migrating } from '../support/capture-plan.ts';
import { compareRun } from '../support/differential.ts';
import { busy, call, counted, plain, thrownBy } from '../support/embedding.ts';
import { underNewerNode } from '../support/newer-engine.ts';
import { HostRefusal, type Scenario } from '../support/observation.ts';
import { runPlain } from '../support/plain-run.ts';
import { RewrittenProgram, RewrittenRun } from '../support/rewritten-run.ts';
import { assemble } from '../support/wat.ts';

underNewerNode(import.meta.url, 6);

/** `WebAssembly.Exception`, of which the library of types knows nothing. */
const { Exception } = WebAssembly as unknown as {
  readonly Exception: new (
    tag: unknown,
    payload: readonly unknown[],
  ) => Error & {
    getArg(tag: unknown, index: number): unknown;
  };
};

/** Holds what the host threw over safepoints, among operands and in a global, and throws it again. */
const holding = assemble(`(module
  (import "host" "refuse" (func $refuse (param i32)))
  (tag $t (export "tag") (param i32 f64)) (global $g (mut exnref) (ref.null exn)) (memory 1)
  ${busy}
  (func (export "run") (param $n i32) (result i32) (local $e exnref)
    (block $h (result exnref)
      (try_table (catch_all_ref $h) (call $refuse (local.get $n)) (drop (call $busy (i32.const 3))))
      (return (i32.const 1)))
    (drop (call $busy (i32.const 7)))
    (global.set $g (local.tee $e))
    (drop (call $fib (i32.const 5)))
    (global.set $g (ref.null exn))
    (throw_ref (local.get $e))))`);

const phase = { call: 0, finished: false, exitCode: 0, guestMs: 0 };

describe.runIf(hasExceptionsByReference())('exceptions of the host', () => {
  const scenario: Scenario = {
    wasm: holding,
    calls: [0, 1].map((n) => ({ name: 'run', args: [n] })),
    imports: () => ({
      host: {
        refuse: (n: number) => {
          if (n === 1) throw new HostRefusal('no');
        },
      },
    }),
  };

  it('are held as they are while the instance goes on', () => {
    const expected = runPlain(scenario);
    expect(expected.outcomes).toEqual(['returned 1', 'threw: no']);
    const program = new RewrittenProgram(holding);
    for (const tracking of ['software', 'none', 'paged'] as const) {
      const { captures } = compareRun(expected, program, scenario, everySafepoint(tracking));
      expect(captures).toBeGreaterThan(10);
    }
  });

  it('cannot be part of a checkpoint, which says so', () => {
    const run = new RewrittenRun(new RewrittenProgram(holding), scenario, migrating(1, 3, 0));
    expect(() => run.run()).toThrow(UnsavableReferenceError);
  });

  it('reach the caller of an embedded instance as the same object, and hold up no call when they cannot be saved', () => {
    const thrown = new Error('of the host');
    const refusals = new Set<string>();
    const onCapture = (instance: EmbeddedInstance): void => {
      try {
        instance.save();
      } catch (error) {
        if (!(error instanceof ContinuoError)) throw error;
        refusals.add(error.code);
      }
    };
    const refuse = (): never => {
      throw thrown;
    };
    const { instance, figures } = counted(holding, { host: { refuse } }, { onCapture });
    let found: unknown;
    try {
      call(instance, 'run', 1);
    } catch (error) {
      found = error;
    }
    expect(found).toBe(thrown);
    expect(figures.captures).toBeGreaterThan(10);
    expect([...refusals]).toEqual(['unsupported-feature']);
  });

  it('of a tag of the guest are saved by what they carry', () => {
    const saved: Uint8Array[] = [];
    let tag: unknown;
    const refuse = (): never => {
      throw new Exception(tag, [41, -0.5]);
    };
    const host = { host: { refuse } };
    const { instance } = counted(holding, host, { onCapture: (captured) => void saved.push(captured.save()) });
    tag = (instance.exports as Record<string, unknown>)['tag'];
    expect(() => call(instance, 'run', 1)).toThrow(Exception);
    expect(saved.length).toBeGreaterThan(10);
    for (const restore of saved) {
      const restored = instantiateNow(holding, host, { restore }).instance;
      // Before the host is called, it throws what the first instance knows.
      tag = (restored.exports as Record<string, unknown>)['tag'];
      let found: unknown;
      try {
        restored.resume();
      } catch (error) {
        found = error;
      }
      expect(found).toBeInstanceOf(Exception);
      const exception = found as InstanceType<typeof Exception>;
      expect([exception.getArg(tag, 0), exception.getArg(tag, 1)]).toEqual([41, -0.5]);
    }
  });
});

/** Ends with what its exceptions carried, one in each place where a reference can lie. */
const everywhere = assemble(`(module
  (tag $t (param i64 externref)) (tag $pair (param exnref exnref))
  (global $g (mut exnref) (ref.null exn)) (table $x 1 exnref)
  ${busy}
  (func $make (export "make") (param $n i64) (result exnref)
    (block $h (result exnref)
      (drop (call $busy (i32.const 3)))
      (try_table (catch_all_ref $h) (throw $t (local.get $n) (ref.null extern)))
      unreachable))
  (func $pair (param $a exnref) (param $b exnref) (result exnref)
    (block $h (result exnref)
      (try_table (catch_all_ref $h) (throw $pair (local.get $a) (local.get $b)))
      unreachable))
  (func $sum (export "sum") (param $e exnref) (result i64) (local $s i64)
    (if (ref.is_null (local.get $e)) (then (return (i64.const 1))))
    (drop (call $busy (i32.const 3)))
    (block $p (result exnref exnref)
      (block $v (result i64 externref)
        (try_table (catch $t $v) (catch $pair $p) (throw_ref (local.get $e)))
        unreachable)
      drop
      return)
    (local.set $s (call $sum))
    (i64.add (call $sum) (local.get $s)))
  (func (export "run") (result i64)
    (global.set $g (call $make (i64.const 100)))
    (table.set $x (i32.const 0) (call $pair (global.get $g) (call $make (i64.const 20))))
    (drop (table.grow $x (call $make (i64.const 3000)) (i32.const 2)))
    (call $make (i64.const 40000))
    (drop (call $fib (i32.const 6)))
    (call $sum)
    (i64.add (call $sum (global.get $g)))
    (i64.add (call $sum (table.get $x (i32.const 0))))
    (i64.add (call $sum (table.get $x (i32.const 2))))))`);

describe.runIf(hasExceptionsByReference())('references to exceptions', () => {
  it('are part of saved instances, wherever they lie', () => {
    const expected = call(plain(everywhere), 'run');
    expect(expected).toBe(40_000n + 100n + 100n + 20n + 3000n);
    const saved: Uint8Array[] = [];
    const { instance } = counted(everywhere, {}, { onCapture: (captured) => void saved.push(captured.save()) });
    expect(call(instance, 'run')).toBe(expected);
    expect(saved.length).toBeGreaterThan(30);
    for (const restore of saved) {
      const again: Uint8Array[] = [];
      const restored = counted(everywhere, {}, { restore, onCapture: (captured) => void again.push(captured.save()) });
      // Saved again as it stands, it is the same but for what was looked at in what order.
      expect(restored.instance.save()).toHaveLength(restore.length);
      expect(restored.instance.resume()).toBe(expected);
      const last = again.at(-1);
      if (last !== undefined)
        expect(instantiateNow(everywhere, {}, { restore: last }).instance.resume()).toBe(expected);
    }
    // With no call going on, too.
    const { instance: idle } = instantiateNow(everywhere, {}, { restore: instance.save() });
    expect(call(idle, 'run')).toBe(expected);
  });

  it('do not pass between the guest and JavaScript, as under plain V8', () => {
    const { instance } = instantiateNow(everywhere);
    for (const [name, ...args] of [
      ['make', 1n],
      ['sum', null],
      ['sum', 1],
    ]) {
      const message = thrownBy(() => call(plain(everywhere), String(name), ...args));
      expect(message).toMatch(/^TypeError: /);
      expect(thrownBy(() => call(instance, String(name), ...args))).toBe(message);
    }
  });

  it('pass between instances, captured on either side', () => {
    const user = assemble(`(module
      (import "maker" "make" (func $make (param i64) (result exnref)))
      (import "maker" "sum" (func $sum (param exnref) (result i64)))
      ${busy}
      (func (export "run") (result i64) (local $e exnref)
        (local.set $e (call $make (i64.const 5)))
        (drop (call $fib (i32.const 5)))
        (i64.add (call $sum (local.get $e)) (call $sum (ref.null exn)))))`);
    const maker = counted(everywhere);
    const { instance, figures } = counted(user, { maker: { ...maker.instance.exports } });
    expect(call(instance, 'run')).toBe(6n);
    expect(maker.figures.captures + figures.captures).toBeGreaterThan(5);
    // A plain instance on the other side.
    const withPlain = counted(user, { maker: { ...plain(everywhere).exports } });
    expect(call(withPlain.instance, 'run')).toBe(6n);
    expect(withPlain.figures.captures).toBeGreaterThan(3);
  });

  it('in a damaged state are refused', () => {
    const program = new RewrittenProgram(everywhere);
    const { rewritten, compiled } = program.variant({ tracking: 'none', counting: true });
    const fresh = (): GuestInstance => {
      const instance = new GuestInstance(rewritten, compiled, GuestInstance.createMemory(program.module), {});
      instance.initialiseMemory();
      return instance;
    };
    const instance = fresh();
    instance.captureAfterSafepoints(25);
    expect(instance.call(program.module.exports.at(-1)!.index).captured).toBe(true);
    const state = captureState(instance, phase, new Uint8Array(0));
    expect(decodeMachineState(encodeMachineState(state))).toEqual(state);
    const pair = state.savedExceptions.findIndex(({ tagNumber }) => tagNumber === 2);
    expect(pair).toBeGreaterThanOrEqual(0);
    const damaged = (tagNumber: number, values: Uint8Array) => ({
      ...state,
      savedExceptions: state.savedExceptions.map((saved, k) => (k === pair ? { tagNumber, values } : saved)),
    });
    const entries = (a: number, b: number): Uint8Array => new Uint8Array(Int32Array.of(a, b).buffer);
    for (const [tagNumber, values] of [
      [3, entries(pair + 1, pair + 1)],
      [2, new Uint8Array(4)],
      [2, entries(pair, pair + 1)],
      [2, entries(pair + 1, 1000)],
      [2, entries(-1, pair + 1)],
    ] as const) {
      expect(() => restoreState(fresh(), damaged(tagNumber, values))).toThrow(CorruptionError);
    }
    expect(() => restoreState(fresh(), { ...state, referenceGlobals: [1000] })).toThrow(CorruptionError);
    const tables = state.tables!.map((contents) => contents.map(() => 1000));
    expect(() => restoreState(fresh(), { ...state, tables })).toThrow(CorruptionError);
  });
});
