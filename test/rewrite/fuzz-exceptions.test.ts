/** Random programs of Binaryen's fuzzer with exceptions in both forms, which it mixes, plain against rewritten. */
import { afterAll, expect, it } from 'vitest';
import { hasExceptionsByReference } from '../../src/machine/engine-features.ts';
import { BinaryenFuzzer } from '../support/binaryen-fuzzer.ts';
import { fuzzScenario } from '../support/fuzz-module.ts';
import { FUZZ_TIMEOUT_MS, fuzz, isShort } from '../support/fuzz-run.ts';
import { underNewerNode } from '../support/newer-engine.ts';
import { Random } from '../support/random.ts';

underNewerNode(import.meta.url, 1, 2 * FUZZ_TIMEOUT_MS);

const fuzzer = new BinaryenFuzzer();
afterAll(() => fuzzer.close());

it.runIf(hasExceptionsByReference())(
  'programs with exceptions of the fuzzer of Binaryen',
  async () => {
    const figures = await fuzz('exceptions', async (seed) => {
      const random = new Random(seed);
      const more = { vectors: random.chance(0.2), exceptions: true };
      return fuzzScenario(await fuzzer.generate(random.bytes(1000 + random.below(6000)), more), seed);
    });
    if (isShort) expect(figures.captures).toBeGreaterThan(figures.programs);
  },
  FUZZ_TIMEOUT_MS,
);
