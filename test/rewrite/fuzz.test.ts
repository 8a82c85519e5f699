/**
 * Random programs, plain against rewritten: some of our own generator, which crowds safepoints with operands, and some of
 * Binaryen's, which knows every instruction. Short here; `node test/rewrite/fuzz.mjs` runs as many as it is told.
 */
import { afterAll, expect, it } from 'vitest';
import { BinaryenFuzzer } from '../support/binaryen-fuzzer.ts';
import { fuzzScenario } from '../support/fuzz-module.ts';
import { FUZZ_TIMEOUT_MS, fuzz, isShort } from '../support/fuzz-run.ts';
import { generateProgram } from '../support/program-generator.ts';
import { Random } from '../support/random.ts';

it(
  'programs of our own generator',
  async () => {
    const figures = await fuzz('own', (seed) => Promise.resolve(generateProgram(seed)));
    if (!isShort) return;
    expect(figures.captures).toBeGreaterThan(figures.programs * 10);
    expect(figures.interrupts).toBeGreaterThan(0);
  },
  FUZZ_TIMEOUT_MS,
);

const fuzzer = new BinaryenFuzzer();
afterAll(() => fuzzer.close());

it(
  'programs of the fuzzer of Binaryen',
  async () => {
    const figures = await fuzz('binaryen', async (seed) => {
      const random = new Random(seed);
      return fuzzScenario(
        await fuzzer.generate(random.bytes(1000 + random.below(4000)), { vectors: random.chance(0.4) }),
        seed,
      );
    });
    if (isShort) expect(figures.captures).toBeGreaterThan(figures.programs);
  },
  FUZZ_TIMEOUT_MS,
);
