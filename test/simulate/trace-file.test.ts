/** A trace that is damaged, cut or none is refused, wherever the damage is. */
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { Step, type TraceReader } from '../../src/simulate/trace-reader.ts';
import { continuo, scratch, workload } from '../cli/continuo.ts';
import { assemble } from '../support/wat.ts';
import { openTrace, recordTrace } from './recorded-trace.ts';

function countSteps(reader: TraceReader): number {
  let count = 0;
  while (reader.next() !== Step.end) count += 1;
  return count;
}

describe('a trace', () => {
  const record = (): Promise<string> => recordTrace({ name: 'apsp', arguments: ['60', '1'], every: 1000 });
  const read = (content: Uint8Array): number => {
    const path = join(scratch(), 'trace');
    writeFileSync(path, content);
    return countSteps(openTrace(path));
  };

  it('says what was recorded, and counts it at its end', async () => {
    const reader = openTrace(await record());
    expect(countSteps(reader)).toBeGreaterThan(100);
    expect(reader.description).toMatchObject({ arguments: ['apsp.wasm', '60', '1'], everySafepoints: 1000 });
    expect(reader.end).toMatchObject({ exited: 1 });
    expect(reader.end!.references).toBeGreaterThan(100);
    expect(reader.end!.checkpoints).toBeGreaterThan(3);
  });

  it('is refused when any byte is another', async () => {
    const bytes = readFileSync(await record());
    for (let at = 0; at < bytes.length; at += 1 + (at >>> 3)) {
      const damaged = Uint8Array.from(bytes);
      damaged[at] ^= 0x11;
      expect(() => read(damaged), `byte ${at}`).toThrow(expect.objectContaining({ exitCode: at < 12 ? 2 : 65 }));
    }
  });

  it('is refused when it was cut anywhere, or has something behind its end', async () => {
    const bytes = readFileSync(await record());
    for (const length of [0, 5, 30, bytes.length >>> 1, bytes.length - 40, bytes.length - 1]) {
      expect(() => read(bytes.subarray(0, length)), `cut to ${length}`).toThrow(/cut|too short/);
    }
    expect(() => read(Buffer.concat([bytes, Buffer.from([0])]))).toThrow(/more or less in it/);
  });

  it('of a program that traps is not left behind', async () => {
    const folder = scratch();
    const path = join(folder, 'trace');
    const trap = join(folder, 'trap.wasm');
    writeFileSync(
      trap,
      assemble('(module (memory 1) (func (export "_start") (i32.store (i32.const 8) (i32.const 1)) unreachable))'),
    );
    expect(await continuo(['trace', '-o', path, trap])).toMatchObject({ exitCode: 134 });
    expect(readdirSync(folder)).toEqual(['trap.wasm']);
    const { stderr } = await continuo(['trace', '-o', join(folder, 'no', 'trace'), workload('apsp'), '60', '1']);
    expect(stderr).toMatch(/--output: there is no directory/);
  });
});
