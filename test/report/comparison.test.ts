/** A comparison as file and as text: what is refused, what the sentences say, how the terminal shows it. */
import { describe, expect, it } from 'vitest';
import { UsageError } from '../../src/error/errors.ts';
import { type Comparison, parseComparison } from '../../src/report/comparison.ts';
import {
  accessSentence,
  headlines,
  outputSentence,
  ratioSentence,
  summarize,
} from '../../src/report/comparison-summary.ts';
import { comparisonText } from '../../src/report/comparison-text.ts';
import { bytesText, countText, durationText, minutesText, overheadText } from '../../src/report/number-text.ts';
import { median } from '../../src/report/statistics.ts';
import { sampleComparison } from './sample-results.ts';

/** The message with which a file is refused. */
function refusal(text: string): string {
  try {
    parseComparison(text, 'result.json');
  } catch (error) {
    expect(error).toBeInstanceOf(UsageError);
    return (error as UsageError).message;
  }
  throw new Error('it was not refused');
}

describe('the file of a comparison', () => {
  it('is read back as it was written', () => {
    const comparison = sampleComparison(1);
    expect(parseComparison(JSON.stringify(comparison), 'result.json')).toEqual(comparison);
    const timed: Comparison = { ...comparison, trigger: { kind: 'interval', ms: 250 } };
    expect(parseComparison(JSON.stringify(timed), 'result.json')).toEqual(timed);
  });

  it.for<[string, (comparison: Comparison) => object, string]>([
    ['another format', (c) => ({ ...c, format: 'stats' }), 'format must be "continuo-comparison", and is "stats"'],
    ['no format', () => ({ pages: 3 }), 'format must be "continuo-comparison", and is missing'],
    ['a list', () => [1, 2], 'the whole must be an object, and is a list of 2'],
    ['a later version', (c) => ({ ...c, version: 2 }), 'version must be 1, and is 2'],
    ['no cells', (c) => ({ ...c, cells: [] }), 'cells must be a list of at least 1, and is a list of 0'],
    [
      'an unknown policy',
      (c) => ({ ...c, cells: [{ ...c.cells[0], policy: 'lazy' }] }),
      'cells[0].policy must be "none" or "sequential" or "incremental" or "continuous", and is "lazy"',
    ],
    [
      'a text for a number',
      (c) => {
        const [first, second, ...rest] = c.cells[1].runs;
        return { ...c, cells: [{ ...c.cells[1], runs: [first, { ...second, pauseMs: '3 ms' }, ...rest] }] };
      },
      'cells[0].runs[1].pauseMs must be a number of at least 0, and is "3 ms"',
    ],
    [
      'a run time of zero',
      (c) => ({ ...c, rounds: 1, cells: [{ ...c.cells[0], runs: [{ ...c.cells[0].runs[0], runMs: 0 }] }] }),
      'cells[0].runs[0].runMs must be a time above 0, and is 0',
    ],
    [
      'a round that is missing',
      (c) => ({ ...c, cells: [{ ...c.cells[0], runs: c.cells[0].runs.slice(1) }] }),
      'cells[0].runs must be a list of 5, a run for each round, and is a list of 4',
    ],
    [
      'one cell twice',
      (c) => ({ ...c, cells: [c.cells[2], c.cells[2]] }),
      'cells must be without two cells of sequential + fork with 3154 frames, and is a list of 2',
    ],
    [
      'fork without checkpoints',
      (c) => ({ ...c, cells: [{ ...c.cells[0], fork: true }] }),
      'cells[0].fork must be false where no checkpoint is taken, and is true',
    ],
  ])('is refused with %s, and the message names the place', ([, change, message]) => {
    expect(refusal(JSON.stringify(change(sampleComparison(1))))).toBe(`result.json: ${message}`);
  });

  it('that is no JSON is refused', () => {
    expect(refusal('{"format": ')).toMatch(/^result\.json is not JSON: /);
  });
});

/** Run times of each policy by round, with one memory size. */
function timed(times: Readonly<Record<string, number[]>>): Comparison {
  const sample = sampleComparison(1, [3154]);
  sample.cells = sample.cells.flatMap((cell) => {
    const own = times[cell.fork ? `${cell.policy} + fork` : cell.policy];
    return own === undefined ? [] : [{ ...cell, runs: own.map((runMs, round) => ({ ...cell.runs[round], runMs })) }];
  });
  sample.rounds = times['none'].length;
  return sample;
}

describe('what a comparison says', () => {
  it('are medians of ratios within a round, not ratios of medians', () => {
    // The machine was twice as slow in the second round: ratios 1.1, 1.2, 1.3, while the medians are 110 and 100.
    const comparison = timed({ none: [100, 200, 100], continuous: [110, 240, 130] });
    expect(headlines(comparison, summarize(comparison))).toEqual([
      'With 3,154 frames (12.9 MB), run time against none: continuous +20.0 % (medians of the ratios within each of 3 rounds).',
    ]);
  });

  it('names what cannot be told from none', () => {
    const comparison = timed({ none: [100, 100, 100], sequential: [150, 160, 170], continuous: [99, 101, 102] });
    const [memory] = summarize(comparison);
    expect(ratioSentence(comparison, memory)).toBe(
      'continuous cost least, +1.0 %, and sequential most, +60.0 %. Not to be told from none, since some rounds were ' +
        'faster than none and some slower: continuous.',
    );
    expect(
      ratioSentence(timed({ none: [100], continuous: [102] }), summarize(timed({ none: [100], continuous: [102] }))[0]),
    ).toBe('continuous took +2.0 %. One round does not tell how much of this is chance.');
  });

  it('compares the accesses of continuous with the others', () => {
    const comparison = sampleComparison(1, [3154]);
    const accesses = { none: 0, sequential: 1000, incremental: 50, continuous: 50 };
    for (const cell of comparison.cells) for (const run of cell.runs) run.diskAccesses = accesses[cell.policy];
    expect(accessSentence(summarize(comparison)[0])).toBe(
      'continuous accessed 50 pages a checkpoint, 95.0 % less than sequential (1,000) and as many as incremental.',
    );
  });

  it('tells whether all outputs are equal', () => {
    const comparison = sampleComparison(1);
    expect(outputSentence(comparison)).toBe('All 70 runs gave the same output.');
    comparison.cells[3].runs[2].outputDigest = 'other';
    expect(outputSentence(comparison)).toMatch(/^The 70 runs gave 2 different outputs/);
  });
});

describe('the text for the terminal', () => {
  const text = comparisonText(sampleComparison(1));
  const lines = text.split('\n');

  it('has every policy three times a memory size and fits into 100 columns', () => {
    expect(lines.filter((line) => line.startsWith('incremental + fork '))).toHaveLength(6);
    const rows = lines.filter((line) => /^(none|sequential|incremental|continuous)\b/.test(line));
    expect(rows).toHaveLength(2 * 3 * 7);
    expect(Math.max(...rows.map((row) => row.length))).toBeLessThanOrEqual(100);
  });

  it('aligns its columns: every line of a table ends where its last head ends', () => {
    for (const [index, line] of lines.entries()) {
      if (!/^(time|per checkpoint|faults of the run)\b/.test(line)) continue;
      const table = lines.slice(index, index + 8);
      expect(new Set(table.map((row) => row.length))).toEqual(new Set([line.length]));
      expect(table.slice(1).map((row) => row.split(/ {2,}/)[0])[1]).toBe('sequential');
    }
  });

  it('has the figures of the JSON', () => {
    const { cells } = sampleComparison(1);
    const sequential = cells.find(({ policy, fork }) => policy === 'sequential' && !fork)!;
    const seconds = median(sequential.runs.map(({ runMs }) => runMs)) / 1000;
    expect(lines.find((line) => line.startsWith('sequential '))).toContain(` ${seconds.toFixed(2)} s `);
  });
});

it('numbers are shown with about three digits', () => {
  expect([0, 7, 74.83, 2.345, 999.4, 14_950.2].map(countText)).toEqual(['0', '7', '74.8', '2.35', '999', '14,950']);
  expect([1.026, 2.1, 1, 0.9999, 0.98].map(overheadText)).toEqual(['+2.6 %', '+110.0 %', '0.0 %', '0.0 %', '−2.0 %']);
  expect([0, 0.0123, 0.5, 15.63, 999.9, 40_160, 4_000_000].map(durationText)).toEqual([
    '0 ms',
    '12.3 µs',
    '500 µs',
    '15.6 ms',
    '1.00 s',
    '40.16 s',
    '4,000 s',
  ]);
  expect([0, 999, 12_345, 37_100_000, 8e9].map(bytesText)).toEqual(['0 B', '999 B', '12.3 kB', '37.1 MB', '8 GB']);
  expect([1384, 59.6, 8203].map(minutesText)).toEqual(['23:04', '1:00', '136:43']);
});
