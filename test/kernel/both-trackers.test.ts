/**
 * One run of a program under both trackers at once: at each checkpoint they find the same pages. (Two runs, one under each, are
 * captured at other places, since their code passes other numbers of safepoints, so that their counts may differ a little.)
 */
import { mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { ControlWords } from '../../src/machine/control-words.ts';
import { GuestInstance } from '../../src/machine/guest-instance.ts';
import { GuestRun } from '../../src/machine/guest-run.ts';
import { BIAS_WASM_PAGES, PAGES_PER_WASM_PAGE } from '../../src/memory/layout.ts';
import { SoftwareTracker } from '../../src/pager/dirty-tracker.ts';
import { KernelTracker } from '../../src/pager/kernel-tracker.ts';
import { memoryLimits } from '../../src/rewrite/module-encoder.ts';
import { scratch, workload } from '../cli/continuo.ts';
import { referenceDigests } from '../workloads/reference.ts';
import { kernelTracks } from './kernel-tracking.ts';

/** Pages found by both trackers at each checkpoint. */
interface Found {
  readonly software: number[][];
  readonly kernel: number[][];
}

/** From here on a software tracker has one of the kernel beside it, on the same memory. */
function watchBoth(): { readonly found: Found; readonly close: () => void } {
  const found: Found = { software: [], kernel: [] };
  let beside: KernelTracker | undefined;
  const createMemory = Reflect.get(GuestInstance, 'createMemory') as (
    this: void,
    ...of: Parameters<typeof GuestInstance.createMemory>
  ) => ReturnType<typeof GuestInstance.createMemory>;
  vi.spyOn(GuestInstance, 'createMemory').mockImplementation((module, wasmPages) => {
    const memory = createMemory(module, wasmPages);
    beside = new KernelTracker(memory, (memoryLimits(module).maximum - BIAS_WASM_PAGES) * PAGES_PER_WASM_PAGE);
    return memory;
  });
  const collect = Reflect.get(SoftwareTracker.prototype, 'collect') as SoftwareTracker['collect'];
  vi.spyOn(SoftwareTracker.prototype, 'collect').mockImplementation(function (this: SoftwareTracker, pageCount) {
    const count = collect.call(this, pageCount);
    found.software.push([...this.pages.subarray(0, count)]);
    const kernelCount = beside!.collect(pageCount);
    found.kernel.push([...beside!.pages.subarray(0, kernelCount)]);
    return count;
  });
  const rearm = Reflect.get(SoftwareTracker.prototype, 'rearm') as SoftwareTracker['rearm'];
  vi.spyOn(SoftwareTracker.prototype, 'rearm').mockImplementation(function (this: SoftwareTracker, ...what) {
    rearm.call(this, ...what);
    beside!.rearm(...what);
  });
  return { found, close: () => beside?.close() };
}

describe.runIf(kernelTracks)('both trackers', () => {
  afterEach(() => void vi.restoreAllMocks());

  it.each([
    { name: 'apsp', size: 200, every: 20_000 },
    { name: 'floyd-warshall', size: 200, every: 20_000 },
    { name: 'matmul', size: 200, every: 20_000 },
    { name: 'sort', size: 100_000, every: 50_000 },
  ])('find the same pages at each checkpoint of $name', ({ name, size, every }) => {
    const folder = scratch();
    const job = join(folder, 'job');
    mkdirSync(job);
    const stdout = join(folder, 'output');
    const control = new ControlWords();
    const { found, close } = watchBoth();
    try {
      const run = new GuestRun(
        {
          control: control.buffer,
          description: {
            program: name,
            arguments: [name, String(size), '1'],
            environment: [],
            preopens: [],
            stdin: { kind: 'file', path: workload(name) },
            stdout: { kind: 'file', path: stdout },
            stderr: { kind: 'inherit' },
            outputMode: 'auto',
            canonicalNan: false,
          },
          programBytes: new Uint8Array(readFileSync(workload(name))),
          jobDirectory: job,
          fresh: false,
          everySafepoints: every,
          everySteps: undefined,
          policy: undefined,
          fork: false,
          paging: undefined,
          pagerLink: undefined,
          tracePath: undefined,
          tracker: 'software',
          seal: undefined,
          keep: undefined,
          at: undefined,
          onStorageError: 'stop',
        },
        control,
        () => {},
      );
      expect(run.run()).toMatchObject({ kind: 'exited', exitCode: 0 });
    } finally {
      close();
    }
    const digest = referenceDigests[name](size, 1).toString(16).padStart(16, '0');
    expect(readFileSync(stdout, 'utf8')).toContain(`digest=${digest}`);
    expect(found.kernel.length).toBeGreaterThan(3);
    expect(found.kernel.flat().length).toBeGreaterThan(100);
    expect(found.kernel).toEqual(found.software);
  });
});
