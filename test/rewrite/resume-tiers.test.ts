/** Which resume functions V8 may take time to optimise, and that a function which is made twice goes on the same. */
import { expect, it } from 'vitest';
import { FunctionPlan, PositionKind } from '../../src/rewrite/function-plan.ts';
import { ResumeModuleBuilder } from '../../src/rewrite/resume-module.ts';
import { positionKey } from '../../src/rewrite/resume-position.ts';
import { Op } from '../../src/wasm/opcode.ts';
import { compareEverywhere } from '../support/differential.ts';
import { RewrittenProgram } from '../support/rewritten-run.ts';
import { assemble } from '../support/wat.ts';

/** A loop with a call that is captured inside, and so many instructions behind the call. */
function loopAroundCall(length: number): Uint8Array<ArrayBuffer> {
  const rest = '(local.set $x (i32.mul (i32.add (local.get $x) (i32.const 123457)) (local.get $x)))'.repeat(length);
  return assemble(`(module
    (func $busy (param $n i32) (result i32)
      (loop $halve (br_if $halve (local.tee $n (i32.shr_u (local.get $n) (i32.const 1)))))
      (local.get $n))
    (func (export "run") (param $n i32) (result i32) (local $x i32)
      (local.set $x (i32.const 3))
      (loop $outer
        (local.set $x (i32.add (local.get $x) (call $busy (local.get $n))))
        ${rest}
        (br_if $outer (local.tee $n (i32.shr_u (local.get $n) (i32.const 1)))))
      (local.get $x)))`);
}

const RUN = 1;

function positionsOf(wasm: Uint8Array<ArrayBuffer>) {
  const { rewritten } = new RewrittenProgram(wasm).variant({ tracking: 'software', counting: false });
  const plan = new FunctionPlan(rewritten.module, rewritten.graph);
  plan.plan(RUN);
  const at = (op: number, kind: number) => {
    const row = plan.body.op.indexOf(op);
    return { functionIndex: RUN, position: plan.body.start[row], kind };
  };
  const builder = new ResumeModuleBuilder(rewritten, plan);
  return { builder, inside: at(Op.call, PositionKind.inside), head: at(Op.loop, PositionKind.before) };
}

it('a small loop around a captured call may run long, the rest of the call’s own iteration does not', () => {
  const { builder, inside, head } = positionsOf(loopAroundCall(10));
  expect(builder.build([inside], false).map(({ longRunning }) => longRunning)).toEqual([true, false]);
  expect(builder.isMissing(inside)).toBe(false);
  expect(builder.isMissing(head)).toBe(false);
});

it('a large loop is made for one run, and again for long when the guest is captured at its head', () => {
  const { builder, inside, head } = positionsOf(loopAroundCall(8000));
  expect(builder.build([inside], false).map(({ longRunning }) => longRunning)).toEqual([false]);
  const slot = builder.slotOf(positionKey(head));
  expect(builder.isMissing(head)).toBe(true);
  expect(builder.build([head], true).map(({ longRunning }) => longRunning)).toEqual([true]);
  expect(builder.slotOf(positionKey(head))).toBe(slot);
  expect(builder.isMissing(head)).toBe(false);
  expect(builder.slotCount).toBe(2);
});

it.each([10, 8000])('captured everywhere, it gives the same: %i instructions in the loop', (length) => {
  const comparison = compareEverywhere({ wasm: loopAroundCall(length), calls: [{ name: 'run', args: [0xff] }] });
  expect(comparison.plain.outcomes[0]).toMatch(/^returned/);
  expect(comparison.captures).toBeGreaterThan(60);
});
