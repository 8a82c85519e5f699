import { expect } from 'vitest';
import { refuseWhatEngineLacks } from '../../src/machine/engine-features.ts';
import { decodeModule } from '../../src/wasm/module.ts';
import { UnsupportedModuleError } from '../../src/error/errors.ts';
import { allOptions, everySafepoint, migrating, uninterrupted } from './capture-plan.ts';
import { compareRun } from './differential.ts';
import type { Scenario } from './observation.ts';
import { runPlain } from './plain-run.ts';
import { RewrittenProgram } from './rewritten-run.ts';

const firstSeed = Number(process.env['CONTINUO_FUZZ_SEED'] ?? 1);
/** Programs of each generator, when the environment asks for so many; each costs some 50 ms. */
const asked = process.env['CONTINUO_FUZZ_COUNT'];
const counts = { own: 60, binaryen: 20, exceptions: 40 };
export type Generator = keyof typeof counts;

/** Programs of a generator in this run; `isShort` when nobody asked for a number. */
export const countOf = (generator: Generator): number => (asked === undefined ? counts[generator] : Number(asked));
export const isShort = asked === undefined;
export const FUZZ_TIMEOUT_MS = 60_000 + countOf('own') * 2000;
const CAPTURES_MAX = 120;

/** How much was compared, so that a run which compares nothing can be told from one that does. */
export interface Figures {
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
    // In the order in which a program is prepared: what the engine lacks is named, then what Continuo does.
    expect(() => {
      refuseWhatEngineLacks(decodeModule(new Uint8Array(scenario.wasm)));
      new RewrittenProgram(scenario.wasm).variant(allOptions[0]);
    }).toThrow(UnsupportedModuleError);
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

/** Runs programs of a generator plain and rewritten, from the first seed on; every difference is a failure. */
export async function fuzz(name: Generator, scenarioOf: (seed: number) => Promise<Scenario>): Promise<Figures> {
  const figures: Figures = { programs: 0, refused: 0, safepoints: 0, captures: 0, migrations: 0, interrupts: 0 };
  const failures: string[] = [];
  const count = countOf(name);
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
