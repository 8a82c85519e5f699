import { expect } from 'vitest';
import { type CapturePlan, allOptions, everySafepoint, migrating, uninterrupted } from './capture-plan.ts';
import { type Observation, type Scenario, differences } from './observation.ts';
import { runPlain } from './plain-run.ts';
import { RewrittenProgram, RewrittenRun, type RunFigures } from './rewritten-run.ts';

/** One plan's run of a scenario, held against plain V8. */
export function compareRun(
  plain: Observation,
  program: RewrittenProgram,
  scenario: Scenario,
  plan: CapturePlan,
): RunFigures {
  const run = new RewrittenRun(program, scenario, plan);
  const found = run.run();
  const list = differences(plain, found);
  expect(list, `${plan.name}:\n  ${list.join('\n  ')}`).toEqual([]);
  return run.figures;
}

export interface Comparison {
  readonly plain: Observation;
  /** Safepoints that an uninterrupted run passes. */
  readonly safepoints: number;
  readonly captures: number;
  readonly migrations: number;
  readonly interrupts: number;
  readonly framesMax: number;
  readonly growths: number;
}

/** The most captures of one run; beyond, every n-th safepoint is taken. */
const CAPTURES_MAX = 400;

/**
 * Runs a scenario plain and in every way rewritten — uninterrupted under all options, captured at every safepoint
 * with either tracking, migrating between instances at random — and expects the same of all.
 */
export function compareEverywhere(scenario: Scenario, migrationSeeds: readonly number[] = [1, 2, 3]): Comparison {
  const plain = runPlain(scenario);
  const program = new RewrittenProgram(scenario.wasm);
  const total = { safepoints: 0, captures: 0, migrations: 0, interrupts: 0, framesMax: 0, growths: 0 };
  const add = (figures: RunFigures): void => {
    total.captures += figures.captures;
    total.migrations += figures.migrations;
    total.interrupts += figures.interrupts;
    total.framesMax = Math.max(total.framesMax, figures.framesMax);
  };
  for (const options of allOptions) {
    const figures = compareRun(plain, program, scenario, uninterrupted(options));
    total.safepoints = Math.max(total.safepoints, figures.safepoints);
    total.growths += figures.growths;
  }
  const stride = Math.ceil((total.safepoints + 1) / CAPTURES_MAX);
  add(compareRun(plain, program, scenario, everySafepoint('software', stride)));
  add(compareRun(plain, program, scenario, everySafepoint('none', stride)));
  add(compareRun(plain, program, scenario, everySafepoint('paged', stride)));
  for (const seed of migrationSeeds) {
    add(compareRun(plain, program, scenario, migrating(seed, Math.max(1, total.safepoints / 20))));
  }
  return { plain, ...total };
}
