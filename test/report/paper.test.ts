/** The paper's numbers, and the sentences that compare measurements with them. */
import { describe, expect, it } from 'vitest';
import { UsageError } from '../../src/error/errors.ts';
import { type PaperResults, parsePaperResults } from '../../src/report/paper.ts';
import { paperFigure5, paperFigure6, paperTable1 } from '../../src/report/paper-numbers.ts';
import { type PaperTrackers, trackersFindings } from '../../src/report/paper-trackers.ts';
import {
  figure5Findings,
  figure6Findings,
  figure7Findings,
  outgrowingSize,
  savedPart,
  tableFindings,
  tableLines,
  turningSize,
} from '../../src/report/paper-summary.ts';
import { samplePaper } from './sample-results.ts';

describe('the file of the results', () => {
  it('is read back as it was written', () => {
    const results = samplePaper(1);
    expect(parsePaperResults(JSON.stringify(results), 'paper.json')).toEqual(results);
  });

  it.for<[string, (results: PaperResults) => object, string]>([
    ['no figure', (r) => ({ ...r, figure6: undefined }), 'figure6 must be an object, and is missing'],
    [
      'no checkpoint',
      (r) => ({ ...r, figure5: { ...r.figure5, checkpoints: [] } }),
      'figure5.checkpoints must be a list of at least 1, and is a list of 0',
    ],
    [
      'nothing to divide by',
      (r) => ({
        ...r,
        table1: { sizes: [{ size: 9, cells: [{ policy: 'none', fork: false, runs: [{ ms: 1, noneMs: 0 }] }] }] },
      }),
      'table1.sizes[0].cells[0].runs[0].noneMs must be a time above 0, since others are divided by it, and is 0',
    ],
  ])('is refused with %s', ([, change, message]) => {
    const parse = (): PaperResults => parsePaperResults(JSON.stringify(change(samplePaper(1))), 'paper.json');
    expect(parse).toThrow(UsageError);
    expect(parse).toThrow(`paper.json: ${message}`);
  });
});

it("the paper's numbers fit together", () => {
  // Incremental writes the dirty pages and reads those back that are out.
  expect(2 * paperFigure5.dirtyPages - paperFigure5.continuous).toBe(paperFigure5.incremental);
  // "At least 80 percent of the dirty pages had already been saved", "reduced by about 80 per cent".
  expect(1 - paperFigure5.continuous / paperFigure5.dirtyPages).toBeGreaterThan(0.8);
  expect(paperFigure6.leastSaved).toBeLessThan(paperFigure6.meanSaved);
  // "(48 × 60 + 30) − (23 × 60 + 4) = 1526 seconds"
  const [{ times }] = paperTable1;
  expect(times[1].seconds - times[0].seconds).toBe(1526);
  const overheads = paperTable1.map(({ times: [none, ...others] }) =>
    others.map(({ seconds }) => Math.round((seconds / none.seconds - 1) * 1000) / 10),
  );
  expect(overheads).toEqual([
    [110.3, 17.1, 10, 26.1, 12.3, 2.6],
    [131.7, 30.7, 4.7, 72.5, 86.2, 9.3],
  ]);
});

describe('what the results say', () => {
  it('of Figure 5: the saving, the rule of reading back, and why there are fewer dirty pages', () => {
    const results = samplePaper(1);
    results.figure5.checkpoints = [
      { index: 1, dirtyPages: 100, incremental: 190, continuous: 10 },
      { index: 2, dirtyPages: 80, incremental: 150, continuous: 10 },
    ];
    const [saving, rule, leaving, dirty] = figure5Findings(results);
    expect(saving).toBe(
      "Continuous accessed 10 pages a checkpoint and incremental 170: 94.1 % fewer, more than the paper's 88.9 % (75 and " +
        '677). Both have 3,154 frames of 4 KB.',
    );
    expect(rule).toContain('in the paper 677, and 677 were measured; here 170, and 170 were measured.');
    expect(leaving).toMatch(
      /^88\.9 % of the dirty pages had left memory before the checkpoint, where in the paper it is 80\.1 %/,
    );
    expect(dirty).toMatch(/^There are fewer dirty pages than in the paper, 90 and not 376\./);
  });

  it('of Figure 5: nothing of pages that leave early where fewer do than in the paper', () => {
    const results = samplePaper(1);
    results.frames = 4000;
    results.figure5.checkpoints = [{ index: 1, dirtyPages: 376, incremental: 500, continuous: 252 }];
    const findings = figure5Findings(results).join(' ');
    expect(findings).toContain("49.6 % fewer, less than the paper's 88.9 %");
    expect(findings).toContain('Here there are 4,000 frames of 4 KB, in the paper 3,154.');
    expect(findings).not.toContain('A reason for more');
    expect(findings).not.toContain('dirty pages than in the paper');
  });

  it('of Figure 6: the working set is named as the reason only where it outgrows memory', () => {
    const results = samplePaper(1);
    expect(figure6Findings(results).join(' ')).toContain('5,008 pages, 58.8 % more than there are frames');
    results.frames = 6000;
    expect(figure6Findings(results).join(' ')).not.toContain('outgrows memory');
  });

  it('of Figure 7: where continuous begins to access fewer, and where a matrix outgrows memory', () => {
    const results = samplePaper(1);
    expect(outgrowingSize(results)).toBe(1280);
    expect(turningSize(results)).toBe(1280);
    const findings = figure7Findings(results).join(' ');
    expect(findings).toContain('At 512, 768 and 1024 both policies access as many pages');
    expect(findings).toContain('That is where one matrix (3,201 pages at 1280) is more than the 3,154 frames.');
    expect(findings).toContain('At 2048, continuous accesses 2 of ');
    results.frames = 1e6;
    expect(figure7Findings(results).join(' ')).toContain('At none of the sizes one matrix outgrows memory.');
  });

  it('of Table I: overheads within a round, and the order', () => {
    const results = samplePaper(1);
    const lines = tableLines(results.table1.sizes[0]);
    expect(lines.map(({ label }) => label)).toEqual([
      'none',
      'sequential',
      'incremental',
      'continuous',
      'sequential + fork',
      'incremental + fork',
      'continuous + fork',
    ]);
    expect(lines[1].paperRatio).toBeCloseTo(2.1026, 4);
    const findings = tableFindings(results).join('\n');
    expect(findings).toMatch(/At 1024², .*\. That is the order of the paper\./);
    // The sample has it so: with fork, incremental was the dearer one in the paper.
    expect(findings).toMatch(/Other than in the paper: incremental \+ fork is cheaper than sequential \+ fork here\./);
    expect(findings).toMatch(/^Continuous \+ fork costs \+1\.\d % at 1024², below the paper's \+2\.6 %\.$/m);
  });
});

it('nothing saved of nothing is no division by zero', () => {
  expect(savedPart({ incremental: 0, continuous: 0 })).toBe(0);
});

describe('what the runs under both trackers say', () => {
  const sample = (): PaperTrackers => samplePaper(1).trackers!;

  it('of equal counts, and of those where loops ask ahead', () => {
    const trackers = sample();
    const [, , kernel] = trackers.programs[0].runs;
    Object.assign(kernel, { softFaults: 2_000_000, hardFaults: 500, zeroFaults: 60, pageIns: 3000 });
    Object.assign(trackers.programs[0].runs[1], {
      softFaults: 2_000_000,
      hardFaults: 500,
      zeroFaults: 60,
      pageIns: 3000,
    });
    Object.assign(trackers.programs[0].runs[0], {
      softFaults: 2_000_000,
      hardFaults: 480,
      zeroFaults: 60,
      pageIns: 3000,
    });
    const [, apsp, matmul] = trackersFindings(trackers);
    expect(apsp).toBe(
      'apsp 1408, page by page: both trackers count the same to the last page, 2,000,560 faults and 3,000 pages read among ' +
        'them, and each of the 83 checkpoints has the same dirty pages and writes as many. Asking ahead changes faults that ' +
        'read a page most: 480 instead of 500.',
    );
    expect(matmul).toMatch(/^matmul 1600, page by page: both trackers count the same .* each of the 13 checkpoints/);
  });

  it('of counts and checkpoints that differ', () => {
    const trackers = sample();
    const [ahead, singly, kernel] = trackers.programs[0].runs;
    Object.assign(kernel, { ...ahead, way: 'kernel', pageOuts: singly.pageOuts + 1, softFaults: singly.softFaults });
    kernel.checkpoints = ahead.checkpoints.slice(1);
    const [, apsp] = trackersFindings(trackers);
    expect(apsp).toMatch(
      /are the same; pages written before checkpoints \(7,\d+ and 7,\d+\) differ; its 82 checkpoints are others\./,
    );
  });

  it('where the kernel pages no programs', () => {
    const trackers = { ...sample(), kernelObstacle: 'the system refuses userfaultfd (EPERM)' };
    expect(trackersFindings(trackers).slice(1)).toEqual([
      'The kernel pages no programs here: the system refuses userfaultfd (EPERM).',
    ]);
  });

  it('nothing, of results without them', () => {
    const { trackers, ...others } = samplePaper(1);
    expect(trackers).toBeDefined();
    expect(parsePaperResults(JSON.stringify(others), 'paper.json')).toEqual(others);
  });
});
