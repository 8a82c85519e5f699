/** What a comparison says: medians over the rounds, ratios to the run without checkpoints of the same round, sentences. */
import type { Comparison, ComparisonCell, ComparisonRun } from './comparison.ts';
import { bytesText, countText, durationText, listText, overheadText, shareText } from './number-text.ts';
import { cellLabel, type Policy, comparePolicies, type Tracker } from './policy.ts';
import { type Spread, median, spreadOf } from './statistics.ts';

const PAGE_BYTES = 4096;

/** A cell with its runs put together. */
export interface CellSummary {
  readonly policy: Policy;
  readonly fork: boolean;
  readonly tracker: Tracker | undefined;
  readonly label: string;
  /** Run time divided by that of `none` with the same memory in the same round; undefined where there is none. */
  readonly ratio: Spread | undefined;
  /** The median over the rounds of one figure of a run. */
  readonly of: (figure: (run: ComparisonRun) => number) => number;
}

/** The cells of one memory size, `none` first. */
export interface MemorySummary {
  readonly frames: number | null;
  /** `3,154 frames (12.9 MB)` or `all pages resident` */
  readonly label: string;
  readonly cells: readonly CellSummary[];
}

/** By memory size, the smallest first. */
export function summarize(comparison: Comparison): MemorySummary[] {
  const sizes = [...new Set(comparison.cells.map((cell) => cell.frames))];
  sizes.sort((a, b) => (a ?? Infinity) - (b ?? Infinity));
  return sizes.map((frames) => {
    const cells = comparison.cells.filter((cell) => cell.frames === frames).toSorted(comparePolicies);
    const none = cells.find((cell) => cell.policy === 'none');
    return { frames, label: memoryLabel(frames), cells: cells.map((cell) => summarizeCell(cell, none)) };
  });
}

function memoryLabel(frames: number | null): string {
  return frames === null ? 'all pages resident' : `${countText(frames)} frames (${bytesText(frames * PAGE_BYTES)})`;
}

function summarizeCell(cell: ComparisonCell, none: ComparisonCell | undefined): CellSummary {
  const ratios = none && cell.runs.map((run, round) => run.runMs / none.runs[round].runMs);
  return {
    policy: cell.policy,
    fork: cell.fork,
    tracker: cell.tracker,
    label: cellLabel(cell),
    ratio: ratios && spreadOf(ratios),
    of: (figure) => median(cell.runs.map(figure)),
  };
}

/** Those that take checkpoints. */
export function savingCells(memory: MemorySummary): CellSummary[] {
  return memory.cells.filter((cell) => cell.policy !== 'none');
}

/** `dist/workloads/apsp.wasm 300 1` */
export function commandText({ program, arguments: words }: Comparison): string {
  return [program, ...words].join(' ');
}

export function triggerText({ trigger }: Comparison): string {
  if (trigger.kind === 'interval') return `a checkpoint each ${durationText(trigger.ms)}`;
  return trigger.every === 1
    ? `a checkpoint at each ${trigger.kind.slice(0, -1)}`
    : `a checkpoint each ${countText(trigger.every)} ${trigger.kind}`;
}

export function roundsText({ rounds }: Comparison): string {
  return rounds === 1 ? 'one round' : `${countText(rounds)} rounds`;
}

/** What each policy cost, a sentence for each memory size. */
export function headlines(comparison: Comparison, memories: readonly MemorySummary[]): string[] {
  return memories.map((memory) => {
    const start = memory.frames === null ? 'With all pages resident' : `With ${memory.label}`;
    const costs = savingCells(memory).flatMap(({ label, ratio }) => (ratio ? [{ label, ratio }] : []));
    if (costs.length === 0) return `${start}, there is nothing to compare.`;
    const words = costs.map(({ label, ratio }) => `${label} ${overheadText(ratio.median)}`);
    const how =
      comparison.rounds === 1 ? 'one round' : `medians of the ratios within each of ${roundsText(comparison)}`;
    return `${start}, run time against none: ${listText(words)} (${how}).`;
  });
}

/** Whether all runs of all policies had the same output. */
export function outputSentence({ cells }: Comparison): string {
  const digests = new Set(cells.flatMap((cell) => cell.runs.map((run) => run.outputDigest)));
  const runs = cells.reduce((sum, cell) => sum + cell.runs.length, 0);
  if (digests.size === 1) return `All ${countText(runs)} runs gave the same output.`;
  return `The ${countText(runs)} runs gave ${countText(digests.size)} different outputs: a program whose output depends on time or chance, or an error.`;
}

/** Which costs cannot be told from none in these rounds, because some round was slower and some was not. */
export function ratioSentence({ rounds }: Comparison, memory: MemorySummary): string {
  const costs = savingCells(memory).flatMap(({ label, ratio }) => (ratio ? [{ label, ratio }] : []));
  if (costs.length === 0) return 'There is no run without checkpoints to compare with.';
  const ordered = costs.toSorted((a, b) => a.ratio.median - b.ratio.median);
  const cheapest = ordered[0];
  const dearest = ordered[ordered.length - 1];
  const first =
    cheapest === dearest
      ? `${cheapest.label} took ${overheadText(cheapest.ratio.median)}.`
      : `${cheapest.label} cost least, ${overheadText(cheapest.ratio.median)}, and ${dearest.label} most, ` +
        `${overheadText(dearest.ratio.median)}.`;
  const unclear = ordered.filter(({ ratio }) => ratio.least <= 1 && ratio.most >= 1).map(({ label }) => label);
  if (rounds === 1) return `${first} One round does not tell how much of this is chance.`;
  if (unclear.length === 0) return first;
  return `${first} Not to be told from none, since some rounds were faster than none and some slower: ${listText(unclear)}.`;
}

/** How the disk accesses of continuous compare with those of the other policies. */
export function accessSentence(memory: MemorySummary): string {
  const saving = savingCells(memory);
  const accesses = (cell: CellSummary): number => cell.of((run) => run.diskAccesses);
  const continuous = saving.find((cell) => cell.policy === 'continuous' && !cell.fork);
  const others = saving.filter(
    (cell) => cell.policy !== 'continuous' && !cell.fork && cell.tracker === continuous?.tracker,
  );
  if (continuous === undefined || others.length === 0) {
    const words = saving.map((cell) => `${cell.label} ${countText(accesses(cell))}`);
    return words.length === 0 ? 'No checkpoint was taken.' : `Pages accessed a checkpoint: ${listText(words)}.`;
  }
  const own = accesses(continuous);
  const words = others.map((cell) => {
    const other = accesses(cell);
    if (other === own) return `as many as ${cell.label}`;
    if (own > other) return `${countText(own - other)} more than ${cell.label} (${countText(other)})`;
    return `${shareText(1 - own / other)} less than ${cell.label} (${countText(other)})`;
  });
  return `continuous accessed ${countText(own)} pages a checkpoint, ${listText(words)}.`;
}

/** How long the program stood still. */
export function pauseSentence(memory: MemorySummary): string {
  const saving = savingCells(memory);
  if (saving.length === 0) return 'No checkpoint was taken.';
  const pause = (cell: CellSummary): number => cell.of((run) => run.pauseMs);
  const ordered = saving.toSorted((a, b) => pause(a) - pause(b));
  const shortest = ordered[0];
  const longest = ordered[ordered.length - 1];
  if (shortest === longest) return `${shortest.label} stopped the program for ${durationText(pause(shortest))}.`;
  return (
    `${shortest.label} stopped the program for the shortest time, ${durationText(pause(shortest))}, ` +
    `${longest.label} for the longest, ${durationText(pause(longest))}.`
  );
}
