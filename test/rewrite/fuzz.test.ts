/**
 * Random programs, plain against rewritten: some of our own generator, which crowds safepoints with operands, and some of
 * Binaryen's, which knows every instruction. Short here; `node test/rewrite/fuzz.mjs` runs as many as it is told.
 */
import { afterAll, expect, it } from 'vitest';
import { UnsupportedModuleError } from '../../src/error/errors.ts';
import { allOptions, everySafepoint, migrating, uninterrupted } from '../support/capture-plan.ts';
import { BinaryenFuzzer } from '../support/binaryen-fuzzer.ts';
import { compareRun } from '../support/differential.ts';
import { fuzzScenario } from '../support/fuzz-module.ts';
import type { Scenario } from '../support/observation.ts';
import { runPlain } from '../support/plain-run.ts';
import { generateProgram } from '../support/program-generator.ts';
import { Random } from '../support/random.ts';
import { RewrittenProgram } from '../support/rewritten-run.ts';

const firstSeed = Number(process.env['CONTINUO_FUZZ_SEED'] ?? 1);
/** Programs of each generator, when the environment asks for so many; each costs some 50 ms. */
const asked = process.env['CONTINUO_FUZZ_COUNT'];
const counts = asked === undefined ? { own: 60, binaryen: 20 } : { own: Number(asked), binaryen: Number(asked) };
const TIMEOUT_MS = 60_000 + counts.own * 2000;
const CAPTURES_MAX = 120;

/** How much was compared, so that a run which compares nothing can be told from one that does. */
interface Figures {
  programs: number;
  /** Programs that this engine does not take, and that were refused by name. */
  refused: number;
  safepoints: number;
  captures: number;
  migrations: number;
  interrupts: number;
}

function compareProgram(scenario: Scenario, seed: number, figures: Figures): void {
  if (!WebAssembly.validate(new Uint8Array(scenario.wasm))) {
    expect(() => new RewrittenProgram(scenario.wasm).variant(allOptions[0])).toThrow(UnsupportedModuleError);
    figures.refused++;
    return;
  }
  const plain = runPlain(scenario);
  const program = new RewrittenProgram(scenario.wasm);
  const tracking = seed % 2 === 0 ? 'software' : 'none';
  const { safepoints } = compareRun(plain, program, scenario, uninterrupted({ tracking, counting: true }));
  compareRun(
    plain,
    program,
    scenario,
    uninterrupted({ tracking: seed % 4 < 2 ? 'software' : 'none', counting: false }),
  );
  const stride = Math.ceil((safepoints + 1) / CAPTURES_MAX);
  const captured = compareRun(plain, program, scenario, everySafepoint(tracking, stride));
  const moved = compareRun(plain, program, scenario, migrating(seed, Math.max(1, safepoints / 6), 0.1));
  expect(program.isDeterministic(), 'the same bytes from the same module').toBe(true);
  figures.programs++;
  figures.safepoints += safepoints;
  figures.captures += captured.captures + moved.captures;
  figures.migrations += moved.migrations;
  figures.interrupts += moved.interrupts;
}

async function fuzz(name: keyof typeof counts, scenarioOf: (seed: number) => Promise<Scenario>): Promise<Figures> {
  const figures: Figures = { programs: 0, refused: 0, safepoints: 0, captures: 0, migrations: 0, interrupts: 0 };
  const failures: string[] = [];
  const count = counts[name];
  for (let k = 0; k < count && failures.length < 5; k++) {
    const seed = firstSeed + k;
    try {
      compareProgram(await scenarioOf(seed), seed, figures);
    } catch (error) {
      failures.push(
        `${name}, seed ${seed}: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`,
      );
    }
    if ((k + 1) % 500 === 0) {
      console.log(`${name}: ${k + 1} programs, ${failures.length} differences`);
    }
  }
  console.log(`${name}, from seed ${firstSeed}: ${JSON.stringify(figures)}`);
  expect(failures.join('\n\n')).toBe('');
  expect(figures.programs).toBeGreaterThan(count * 0.9);
  return figures;
}

it(
  'programs of our own generator',
  async () => {
    const figures = await fuzz('own', (seed) => Promise.resolve(generateProgram(seed)));
    if (asked !== undefined) return;
    expect(figures.captures).toBeGreaterThan(figures.programs * 10);
    expect(figures.interrupts).toBeGreaterThan(0);
  },
  TIMEOUT_MS,
);

const fuzzer = new BinaryenFuzzer();
afterAll(() => fuzzer.close());

it(
  'programs of the fuzzer of Binaryen',
  async () => {
    const figures = await fuzz('binaryen', async (seed) => {
      const random = new Random(seed);
      return fuzzScenario(await fuzzer.generate(random.bytes(1000 + random.below(4000)), random.chance(0.4)), seed);
    });
    if (asked === undefined) expect(figures.captures).toBeGreaterThan(figures.programs);
  },
  TIMEOUT_MS,
);
