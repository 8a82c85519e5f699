/**
 * The paper's programs under both trackers: paged by checks in their code, which ask ahead for the pages of a loop or for each page
 * when it is used, and by the kernel.
 */
import type { CheckedValue } from './checked-value.ts';
import { type Markup, markup } from './markup.ts';
import { capitalized, countText, durationText, listText } from './number-text.ts';
import { paragraphs, table } from './page.ts';
import { mean } from './statistics.ts';

/** How pages are asked for: by the code of the program, for many at once or one by one, or by faults. */
const WAYS = ['ahead', 'singly', 'kernel'] as const;
export type PagingWay = (typeof WAYS)[number];

const WAY_NAMES: Readonly<Record<PagingWay, string>> = {
  ahead: 'software, asking ahead',
  singly: 'software, page by page',
  kernel: 'kernel',
};

/** Counts of a run, in pages. */
const COUNTS = {
  softFaults: 'faults on resident pages',
  hardFaults: 'faults that read a page',
  zeroFaults: 'faults on pages of zeros',
  pageIns: 'pages read',
  pageOuts: 'pages written before checkpoints',
  evictions: 'pages that left memory',
} as const;
type PageCounts = Record<keyof typeof COUNTS, number>;
const countNames = Object.keys(COUNTS) as (keyof typeof COUNTS)[];

export interface TrackedRun extends PageCounts {
  way: PagingWay;
  runMs: number;
  checkpoints: { dirtyPages: number; pagesWritten: number }[];
}

export interface TrackedProgram {
  program: string;
  size: number;
  runs: TrackedRun[];
}

export interface PaperTrackers {
  /** Why the kernel pages no programs on the machine of the measurement. */
  kernelObstacle?: string;
  programs: TrackedProgram[];
}

export function readTrackers(value: CheckedValue): PaperTrackers {
  const obstacle = value.field('kernelObstacle');
  return {
    ...(obstacle.isMissing ? {} : { kernelObstacle: obstacle.text() }),
    programs: value.field('programs').list(readProgram, 1),
  };
}

function readProgram(value: CheckedValue): TrackedProgram {
  return {
    program: value.field('program').text(),
    size: value.field('size').count(1),
    runs: value.field('runs').list(readRun, 2),
  };
}

function readRun(value: CheckedValue): TrackedRun {
  const count = (name: keyof typeof COUNTS): number => value.field(name).count();
  return {
    way: value.field('way').oneOf(WAYS),
    runMs: value.field('runMs').amount(),
    softFaults: count('softFaults'),
    hardFaults: count('hardFaults'),
    zeroFaults: count('zeroFaults'),
    pageIns: count('pageIns'),
    pageOuts: count('pageOuts'),
    evictions: count('evictions'),
    checkpoints: value.field('checkpoints').list(
      (one) => ({
        dirtyPages: one.field('dirtyPages').count(),
        pagesWritten: one.field('pagesWritten').count(),
      }),
      1,
    ),
  };
}

export function trackersSection(trackers: PaperTrackers): Markup[] {
  return [
    markup`<h2>The same programs under both trackers</h2>`,
    ...paragraphs(trackersFindings(trackers)),
    ...trackers.programs.map(programTable),
  ];
}

/** What the counts say, sentence by sentence. */
export function trackersFindings({ programs, kernelObstacle }: PaperTrackers): string[] {
  const findings = [
    'A program that has fewer frames than pages asks for pages by checks in its own code, or is stopped by the kernel where a ' +
      'page is not there. The pager is the same. Checks ask ahead for the pages of the next turns of a loop, so that ' +
      'the loop itself has none and the order of a few touches is another; they can also ask for each page when it is used.',
  ];
  if (kernelObstacle !== undefined) return [...findings, `The kernel pages no programs here: ${kernelObstacle}.`];
  for (const { program, size, runs } of programs) {
    const { ahead, singly, kernel } = byWay(runs);
    if (singly === undefined || kernel === undefined) continue;
    findings.push(agreement(`${program} ${size}`, singly, kernel) + (ahead === undefined ? '' : aside(ahead, kernel)));
  }
  return findings;
}

function agreement(name: string, singly: TrackedRun, kernel: TrackedRun): string {
  const { equal, others } = comparedCounts(singly, kernel);
  const isSame = sameCheckpoints(singly, kernel);
  const checkpoints = `${countText(kernel.checkpoints.length)} checkpoints`;
  if (others.length === 0 && isSame) {
    return (
      `${name}, page by page: both trackers count the same to the last page, ${countText(faultsOf(kernel))} faults and ` +
      `${countText(kernel.pageIns)} pages read among them, and each of the ${checkpoints} has the same dirty pages and writes as many.`
    );
  }
  const differing = others.map(
    (count) => `${COUNTS[count]} (${countText(singly[count])} and ${countText(kernel[count])})`,
  );
  const same =
    equal.length === 0 ? 'no count is the same' : `${listText(equal.map((count) => COUNTS[count]))} are the same`;
  const differs = differing.length === 0 ? '' : `; ${listText(differing)} differ`;
  return `${name}, page by page: ${same}${differs}; its ${checkpoints} are ${isSame ? 'the same' : 'others'}.`;
}

/** How far from the kernel's counts those are of code that asks ahead. */
function aside(ahead: TrackedRun, kernel: TrackedRun): string {
  const parts = countNames.map((count) =>
    kernel[count] === 0 ? Number(ahead[count] !== 0) : Math.abs(ahead[count] / kernel[count] - 1),
  );
  const largest = Math.max(...parts);
  if (largest === 0) return ' Asking ahead changes none of them.';
  const count = countNames[parts.indexOf(largest)];
  return ` Asking ahead changes ${COUNTS[count]} most: ${countText(ahead[count])} instead of ${countText(kernel[count])}.`;
}

function comparedCounts(a: TrackedRun, b: TrackedRun) {
  return {
    equal: countNames.filter((count) => a[count] === b[count]),
    others: countNames.filter((count) => a[count] !== b[count]),
  };
}

function sameCheckpoints(a: TrackedRun, b: TrackedRun): boolean {
  if (a.checkpoints.length !== b.checkpoints.length) return false;
  return a.checkpoints.every(({ dirtyPages, pagesWritten }, index) => {
    const other = b.checkpoints[index];
    return dirtyPages === other.dirtyPages && pagesWritten === other.pagesWritten;
  });
}

function faultsOf({ softFaults, hardFaults, zeroFaults }: TrackedRun): number {
  return softFaults + hardFaults + zeroFaults;
}

function byWay(runs: readonly TrackedRun[]): Partial<Record<PagingWay, TrackedRun>> {
  return Object.fromEntries(runs.map((run) => [run.way, run]));
}

function programTable({ program, size, runs }: TrackedProgram): Markup {
  const row = (name: string, text: (run: TrackedRun) => string): string[] => [name, ...runs.map(text)];
  const meanOf = (run: TrackedRun, of: 'dirtyPages' | 'pagesWritten'): string =>
    countText(mean(run.checkpoints.map((one) => one[of])));
  return table({
    id: `trackers-${program}-table`,
    caption: `${capitalized(program)} ${size}, continuous checkpointing`,
    corner: '',
    groups: [{ name: '', columns: runs.map(({ way }) => WAY_NAMES[way]) }],
    sections: [
      {
        name: '',
        rows: [
          ...countNames.map((count) => row(COUNTS[count], (run) => countText(run[count]))),
          row('checkpoints', (run) => countText(run.checkpoints.length)),
          row('dirty pages of a checkpoint', (run) => meanOf(run, 'dirtyPages')),
          row('pages written at a checkpoint', (run) => meanOf(run, 'pagesWritten')),
          row('run time', (run) => durationText(run.runMs)),
        ],
      },
    ],
  });
}
