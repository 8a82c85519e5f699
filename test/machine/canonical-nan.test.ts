/** `--canonical-nan` and `canonicalNan`: part of what a job or a saved instance is. */
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { CapturableModule, instantiate, instantiateNow } from '../../src/index.ts';
import { RunningCommand, continuo, program, scratch } from '../cli/continuo.ts';
import { nanProgram } from '../migration/nan-program.ts';
import { assemble } from '../support/wat.ts';

describe('a job', () => {
  it('keeps its choice when it is resumed, and shows it', async () => {
    const folder = scratch();
    const wasm = program(folder, 'nan', nanProgram(60));
    const job = join(folder, 'job');
    const uninterrupted = await continuo(['run', '--canonical-nan', wasm]);
    expect(uninterrupted.exitCode).toBe(0);
    const running = new RunningCommand([
      'run',
      '--canonical-nan',
      '--job',
      job,
      '--interval',
      '50ms',
      '--verbose',
      wasm,
    ]);
    await running.waitFor('checkpoint 2 ');
    running.kill('SIGTERM');
    expect(await running.ended).toMatchObject({ exitCode: 85, stdout: '' });
    expect((await continuo(['inspect', job])).stdout).toMatch(/^NaNs +canonical/m);
    expect(JSON.parse((await continuo(['inspect', '--json', job])).stdout)).toMatchObject({ canonicalNan: true });
    expect(await continuo(['resume', job])).toMatchObject({ exitCode: 0, stdout: uninterrupted.stdout });
  });

  it('is another one with another choice', async () => {
    const folder = scratch();
    const wasm = program(folder, 'nan', nanProgram(1));
    for (const [k, option] of [[], ['--canonical-nan']].entries()) {
      const job = join(folder, `job${k}`);
      const other = option.length === 0 ? ['--canonical-nan'] : [];
      const first = await continuo(['run', ...option, '--job', job, wasm]);
      expect(first.exitCode).toBe(0);
      const refused = await continuo(['run', ...other, '--job', job, wasm]);
      expect(refused).toMatchObject({ exitCode: 2, stdout: '' });
      expect(refused.stderr).toContain('it has other NaNs (--canonical-nan)');
      expect(await continuo(['run', ...option, '--job', job, wasm])).toMatchObject({ exitCode: 0, stdout: '' });
    }
  });
});

describe('an instance', () => {
  const wasm = assemble(`(module (memory 1)
    (func (export "quotient") (param f64 f64) (result i64) (i64.reinterpret_f64 (f64.div (local.get 0) (local.get 1)))))`);
  const quotientOf = ({ exports }: { readonly exports: unknown }): ((a: number, b: number) => bigint) =>
    (exports as { readonly quotient: (a: number, b: number) => bigint }).quotient;

  it('has canonical NaNs', async () => {
    const { instance, module } = await instantiate(wasm, {}, { canonicalNan: true });
    expect(module.canonicalNan).toBe(true);
    expect(BigInt.asUintN(64, quotientOf(instance)(0, 0))).toBe(0x7ff8_0000_0000_0000n);
  });

  it('is saved with its choice', () => {
    const canonical = instantiateNow(wasm, {}, { canonicalNan: true }).instance;
    const saved = canonical.save();
    expect(() => instantiateNow(wasm, {}, { restore: saved })).toThrow(/canonicalNan/);
    const restored = instantiateNow(wasm, {}, { canonicalNan: true, restore: saved }).instance;
    expect(BigInt.asUintN(64, quotientOf(restored)(0, 0))).toBe(0x7ff8_0000_0000_0000n);
    const plain = instantiateNow(wasm, {}).instance.save();
    expect(() => instantiateNow(wasm, {}, { canonicalNan: true, restore: plain })).toThrow(/canonicalNan/);
  });

  it('of a module has what the module was made with', () => {
    const module = new CapturableModule(wasm, { canonicalNan: true });
    expect(() => instantiateNow(module, {}, {})).not.toThrow();
    expect(() => instantiateNow(module, {}, { canonicalNan: false })).toThrow('canonicalNan is false here and true');
  });
});
