/** What the measurements say beside those of the paper: means, savings, overheads, and sentences made from them. */
import type { PaperCell, PaperCheckpoint, PaperResults, PaperSize } from './paper.ts';
import { paperFigure5, paperFigure6, paperFigure7, paperFrames, paperTable1 } from './paper-numbers.ts';
import { countText, listText, overheadText, shareText } from './number-text.ts';
import { comparePolicies, policyLabel } from './policy.ts';
import { type Spread, mean, spreadOf } from './statistics.ts';

const PAGE_BYTES = 4096;
/** Policies whose accesses differ by less than this part are as good as equal. */
const EQUAL_PART = 0.02;

export interface Accesses {
  readonly dirtyPages: number;
  readonly incremental: number;
  readonly continuous: number;
}

export function meanAccesses(checkpoints: readonly PaperCheckpoint[]): Accesses {
  return {
    dirtyPages: mean(checkpoints.map(({ dirtyPages }) => dirtyPages)),
    incremental: mean(checkpoints.map(({ incremental }) => incremental)),
    continuous: mean(checkpoints.map(({ continuous }) => continuous)),
  };
}

/** The part of incremental's accesses that continuous does not need; 0 where there were none at all. */
export function savedPart({ incremental, continuous }: Pick<Accesses, 'incremental' | 'continuous'>): number {
  return incremental === 0 ? 0 : 1 - continuous / incremental;
}

/** The part of the dirty pages that had left memory before the checkpoint. */
export function outPart({ dirtyPages, continuous }: Pick<Accesses, 'dirtyPages' | 'continuous'>): number {
  return dirtyPages === 0 ? 0 : Math.max(0, 1 - continuous / dirtyPages);
}

function comparedWithPaper(here: number, there: number): string {
  if (Math.abs(here - there) < 0.0005) return 'as in the paper';
  return here > there ? `more than the paper's ${shareText(there)}` : `less than the paper's ${shareText(there)}`;
}

/**
 * Incremental writes each dirty page and reads back each one that left: twice the dirty pages less those that were still
 * there, which are what continuous writes. Said only where the numbers bear it out.
 */
function readBackSentence({ dirtyPages, incremental, continuous }: Accesses): string {
  const expected = 2 * dirtyPages - continuous;
  const rule =
    'Incremental writes every dirty page and first reads back each one that has left memory, so it should access twice ' +
    'the dirty pages less those that continuous writes';
  const paper = 2 * paperFigure5.dirtyPages - paperFigure5.continuous;
  const there = `in the paper ${countText(paper)}, and ${countText(paperFigure5.incremental)} were measured`;
  const here = `here ${countText(expected)}, and ${countText(incremental)} were measured`;
  return `${rule}: ${there}; ${here}.`;
}

function frameSentence(frames: number): string {
  if (frames === paperFrames) return `Both have ${countText(frames)} frames of 4 KB.`;
  return `Here there are ${countText(frames)} frames of 4 KB, in the paper ${countText(paperFrames)}.`;
}

/** Of both programs: why more of the dirty pages leave early here. A reason, and no measurement of this page. */
function leavingSentence(out: number, paperOut: number, what: string): string[] {
  if (out <= paperOut) return [];
  return [
    `${shareText(out)} of the dirty pages had left memory before the checkpoint, where ${what}. A reason for more: ` +
      'the pager writes in clusters, and other dirty pages that have not been used for long go along in the write of ' +
      'one that must leave. How soon a page leaves also depends on the replacement: LIRS by default, and not the ' +
      'second chance of Mach.',
  ];
}

export function figure5Findings({ figure5, frames }: PaperResults): string[] {
  const here = meanAccesses(figure5.checkpoints);
  const saved = savedPart(here);
  const paperOut = outPart(paperFigure5);
  const findings = [
    `Continuous accessed ${countText(here.continuous)} pages a checkpoint and incremental ` +
      `${countText(here.incremental)}: ${shareText(saved)} fewer, ${comparedWithPaper(saved, savedPart(paperFigure5))} ` +
      `(${countText(paperFigure5.continuous)} and ${countText(paperFigure5.incremental)}). ${frameSentence(frames)}`,
    readBackSentence(here),
    ...leavingSentence(outPart(here), paperOut, `in the paper it is ${shareText(paperOut)}`),
  ];
  if (Math.abs(here.dirtyPages / paperFigure5.dirtyPages - 1) > 0.05) {
    const rows = (figure5.size * figure5.size * 8) / PAGE_BYTES / figure5.checkpoints.length;
    const fewer = here.dirtyPages < paperFigure5.dirtyPages ? 'fewer' : 'more';
    findings.push(
      `There are ${fewer} dirty pages than in the paper, ${countText(here.dirtyPages)} and not ` +
        `${countText(paperFigure5.dirtyPages)}. Here the rows of the result, ${figure5.size}² numbers of 8 bytes, ` +
        `are ${countText(rows)} pages a checkpoint; what else is dirty is the program's marks and the pages that two ` +
        `checkpoints share. The image has ${countText(figure5.pages)} pages, the paper's ${countText(paperFigure5.pages)}, ` +
        'which include the stacks and the data of shared libraries; what its program writes besides the result the ' +
        'paper does not say.',
    );
  }
  return findings;
}

export function figure6Findings({ figure6, frames }: PaperResults): string[] {
  const here = meanAccesses(figure6.checkpoints);
  const parts = spreadOf(figure6.checkpoints.map(savedPart));
  const saved = mean(figure6.checkpoints.map(savedPart));
  const matrix = matrixPages(figure6);
  const bytes = elementBytes(figure6);
  const findings = [
    `Continuous saved ${shareText(parts.least)} to ${shareText(parts.most)} of incremental's accesses, ` +
      `${shareText(saved)} on average; the paper ${shareText(paperFigure6.leastSaved)} to ` +
      `${shareText(paperFigure6.mostSaved)}, ${shareText(paperFigure6.meanSaved)} on average. ${frameSentence(frames)}`,
  ];
  if (saved > paperFigure6.meanSaved && matrix > frames) {
    findings.push(
      `The saving is larger because the program outgrows memory further. Its image is ${countText(figure6.pages)} pages, ` +
        `two matrices of ${countText(bytes)} bytes a number: a row of the result needs one of them whole, ` +
        `${countText(matrix)} pages, ${shareText(matrix / frames - 1)} more than there are frames. The paper's ` +
        `${countText(paperFigure6.pages)} pages hold numbers of 4 bytes, and a row needs ` +
        `${countText(paperFigure6.workingSetPages)} pages, only slightly over what its other processes left.`,
    );
  }
  // With o of d dirty pages out, continuous writes (1 − o)·d and incremental accesses (1 + o)·d.
  const paperOut = paperFigure6.meanSaved / (2 - paperFigure6.meanSaved);
  findings.push(
    ...leavingSentence(
      outPart(here),
      paperOut,
      `the paper's saving means ${shareText(paperOut)} by the rule of Figure 5`,
    ),
  );
  return findings;
}

/** Of the two matrices of `matmul`, one. */
function matrixPages({ pages }: Pick<PaperSize, 'pages'>): number {
  return pages / 2;
}

/** Of a number of its matrices, from the size of the image. */
function elementBytes({ size, pages }: Pick<PaperSize, 'size' | 'pages'>): number {
  return Math.round((matrixPages({ pages }) * PAGE_BYTES) / (size * size));
}

/** The first size whose one matrix is more than memory holds. */
export function outgrowingSize({ figure7, frames }: PaperResults): number | undefined {
  const sizes = figure7.sizes.toSorted((a, b) => a.size - b.size);
  return sizes.find((entry) => matrixPages(entry) > frames)?.size;
}

/** The first size from which on continuous accesses fewer pages than incremental. */
export function turningSize({ figure7 }: PaperResults): number | undefined {
  const sizes = figure7.sizes.toSorted((a, b) => a.size - b.size);
  const lastEqual = sizes.findLastIndex((entry) => savedPart(entry) < EQUAL_PART);
  return sizes.at(lastEqual + 1)?.size;
}

export function figure7Findings(results: PaperResults): string[] {
  const sizes = results.figure7.sizes.toSorted((a, b) => a.size - b.size);
  const outgrowing = outgrowingSize(results);
  const turning = turningSize(results);
  const largest = sizes[sizes.length - 1];
  const findings: string[] = [];
  const equal = sizes.filter((entry) => savedPart(entry) < EQUAL_PART);
  if (equal.length > 0) {
    findings.push(
      `At ${listText(equal.map(({ size }) => String(size)))} both policies access as many pages (within ` +
        `${shareText(EQUAL_PART)}), as in the paper where the working set fits into memory.`,
    );
  }
  if (turning === undefined) findings.push('At no size does continuous access fewer pages up to the largest.');
  else findings.push(`From ${turning} on continuous accesses fewer.`);
  if (outgrowing === undefined) {
    findings.push('At none of the sizes one matrix outgrows memory.');
  } else {
    const entry = sizes.find(({ size }) => size === outgrowing)!;
    const bytes = elementBytes(entry);
    const place = turning === outgrowing ? 'That is where' : 'For comparison:';
    const paperBytes = (paperFrames * PAGE_BYTES) / paperFigure7.turningSize ** 2;
    findings.push(
      `${place} one matrix (${countText(matrixPages(entry))} pages at ${outgrowing}) is more than the ` +
        `${countText(results.frames)} frames. In the paper that happens at ${paperFigure7.turningSize}, whose matrix of ` +
        `numbers of ${countText(Math.round(paperBytes))} bytes is about its ${countText(paperFrames)} frames; here a ` +
        `number has ${countText(bytes)} bytes.`,
    );
  }
  if (largest.size === outgrowing || (outgrowing !== undefined && largest.size > outgrowing)) {
    findings.push(
      `At ${largest.size}, continuous accesses ${countText(largest.continuous)} of ${countText(largest.dirtyPages)} dirty ` +
        `pages a checkpoint; the paper's flushes ${paperFigure7.pagesBeyond} beyond ${paperFigure7.turningSize}.`,
    );
  }
  return findings;
}

/** A line of Table I here and in the paper; what was not measured or is not in the paper is undefined. */
export interface TableLine {
  readonly label: string;
  readonly policy: string;
  readonly fork: boolean;
  readonly ratio: Spread | undefined;
  readonly predictedSeconds: number | undefined;
  readonly predictedRatio: number | undefined;
  readonly paperSeconds: number | undefined;
  readonly paperRatio: number | undefined;
}

export function tableLines({ size, cells }: { size: number; cells: readonly PaperCell[] }): TableLine[] {
  const paper = paperTable1.find((entry) => entry.size === size)?.times ?? [];
  const noneOf = <T extends { policy: string }>(entries: readonly T[]): T | undefined =>
    entries.find(({ policy }) => policy === 'none');
  const predictedNone = noneOf(cells)?.predictedSeconds;
  const paperNone = noneOf(paper)?.seconds;
  return cells.toSorted(comparePolicies).map(({ policy, fork, runs, predictedSeconds }) => {
    const there = paper.find((time) => time.policy === policy && time.fork === fork)?.seconds;
    return {
      label: policyLabel(policy, fork),
      policy,
      fork,
      ratio: runs.length === 0 ? undefined : spreadOf(runs.map(({ ms, noneMs }) => ms / noneMs)),
      predictedSeconds,
      predictedRatio: predictedSeconds && predictedNone ? predictedSeconds / predictedNone : undefined,
      paperSeconds: there,
      paperRatio: there !== undefined && paperNone !== undefined ? there / paperNone : undefined,
    };
  });
}

export function tableFindings({ table1 }: PaperResults): string[] {
  return table1.sizes.flatMap((entry) => {
    const lines = tableLines(entry).filter(({ policy }) => policy !== 'none');
    const both = lines.flatMap(({ label, ratio, paperRatio, policy, fork }) =>
      ratio === undefined || paperRatio === undefined ? [] : [{ label, policy, fork, ratio, paperRatio }],
    );
    const findings = [orderSentence(entry.size, both)];
    for (const { label, policy, ratio, paperRatio } of both) {
      if (policy !== 'continuous') continue;
      const than = ratio.median < paperRatio ? 'below' : ratio.median > paperRatio ? 'above' : 'equal to';
      findings.push(
        `${label} costs ${overheadText(ratio.median)} at ${entry.size}², ${than} the paper's ${overheadText(paperRatio)}.`,
      );
    }
    return findings.filter((finding) => finding !== '').map((finding) => finding.replace(/^c/, 'C'));
  });
}

interface OrderedLine {
  readonly label: string;
  readonly fork: boolean;
  readonly ratio: Spread;
  readonly paperRatio: number;
}

/** Whether the policies stand in the order of the paper, and which pairs do not. */
function orderSentence(size: number, lines: readonly OrderedLine[]): string {
  if (lines.length < 2) return '';
  const swapped: string[] = [];
  const pairs = lines.flatMap((line, index) => lines.slice(index + 1).map((other) => [line, other] as const));
  for (const [line, other] of pairs) {
    const here = line.ratio.median - other.ratio.median;
    if (here * (line.paperRatio - other.paperRatio) >= 0) continue;
    const isClear = line.ratio.least > other.ratio.most || other.ratio.least > line.ratio.most;
    const [cheap, dear] = here < 0 ? [line, other] : [other, line];
    swapped.push(`${cheap.label} is cheaper than ${dear.label} here${isClear ? '' : ' (their spreads overlap)'}`);
  }
  const order = lines
    .toSorted((a, b) => b.ratio.median - a.ratio.median)
    .map(({ label, ratio }) => `${label} ${overheadText(ratio.median)}`);
  const start = `At ${size}², from dear to cheap: ${listText(order)}.`;
  if (swapped.length === 0) return `${start} That is the order of the paper.`;
  return `${start} Other than in the paper: ${listText(swapped)}.`;
}
