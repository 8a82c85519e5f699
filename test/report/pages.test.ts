/** The pages as a browser shows them: nothing missing, cut, overlapping or fetched, in light and dark, on wide and narrow. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { type Browser, type Page, launch } from 'puppeteer-core';
import { afterAll, beforeAll, expect, it } from 'vitest';
import type { Comparison, ComparisonRun } from '../../src/report/comparison.ts';
import { renderComparisonPage } from '../../src/report/comparison-page.ts';
import { paperTable1 } from '../../src/report/paper-numbers.ts';
import { renderPaperPage } from '../../src/report/paper-page.ts';
import { NO_BROWSER, findChromium } from './browser.ts';
import { sampleComparison, samplePaper } from './sample-results.ts';

const chromium = findChromium();
let browser: Browser | undefined;
let folder: string;

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'continuo-report-'));
  if (chromium === undefined) {
    console.warn(`The pages are not looked at: ${NO_BROWSER}`);
    return;
  }
  // The sandbox needs rights that a container has not; the pages are our own and run no script.
  browser = await launch({ executablePath: chromium, args: ['--no-sandbox', '--disable-dev-shm-usage'] });
});

afterAll(async () => {
  await browser?.close();
  rmSync(folder, { recursive: true, force: true });
});

const PHONE_PX = 360;
const DESK_PX = 1000;

/** A tab that shows a page, and all that the browser complained of or asked a network for. */
async function show(html: string): Promise<{ tab: Page; complaints: string[] }> {
  const tab = await browser!.newPage();
  const complaints: string[] = [];
  tab.on('console', (message) => complaints.push(`console: ${message.text()}`));
  tab.on('pageerror', (error) => complaints.push(`error: ${String(error)}`));
  tab.on('requestfailed', (request) => complaints.push(`failed: ${request.url()}`));
  const file = join(folder, 'page.html');
  writeFileSync(file, html);
  const address = pathToFileURL(file).href;
  tab.on('request', (request) => {
    if (request.url() !== address && !request.url().startsWith('data:')) complaints.push(`asks for ${request.url()}`);
  });
  await tab.setViewport({ width: DESK_PX, height: 800 });
  await tab.goto(address);
  return { tab, complaints };
}

interface Picture {
  figure: string;
  width: number;
  height: number;
  marks: number;
  text: string;
  cut: string[];
  overlapping: string[];
}

/** The pictures that are shown at the present width. */
async function pictures(tab: Page): Promise<Picture[]> {
  return tab.$$eval('figure .panels svg', (all) =>
    all
      .filter((svg) => svg.getBoundingClientRect().width > 0)
      .map((svg) => {
        const around = svg.getBoundingClientRect();
        const texts = Array.from(svg.querySelectorAll('text'), (text) => ({
          text: text.textContent,
          box: text.getBoundingClientRect(),
        }));
        const isCut = (box: DOMRect): boolean =>
          box.left < around.left - 1 ||
          box.right > around.right + 1 ||
          box.top < around.top - 1 ||
          box.bottom > around.bottom + 1;
        const overlaps = (a: DOMRect, b: DOMRect): boolean =>
          Math.min(a.right, b.right) - Math.max(a.left, b.left) > 1 &&
          Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top) > 2;
        return {
          figure: svg.closest('figure')!.id,
          width: around.width,
          height: around.height,
          marks: svg.querySelectorAll('circle, rect, g[aria-label=line] path').length,
          text: svg.textContent,
          cut: texts.filter(({ box }) => isCut(box)).map(({ text }) => text),
          overlapping: texts.flatMap((one, index) =>
            texts
              .slice(index + 1)
              .filter((other) => overlaps(one.box, other.box))
              .map((other) => `${one.text} / ${other.text}`),
          ),
        };
      }),
  );
}

/** Rows of a table: the section's or row's name, then the cells. */
async function rows(tab: Page, id: string): Promise<string[][]> {
  return tab.$$eval(`#${id} tbody tr`, (all) => all.map((row) => Array.from(row.children, (cell) => cell.textContent)));
}

const scales: Readonly<Record<string, number>> = { µs: 1e-3, ms: 1, s: 1e3, B: 1, kB: 1e3, MB: 1e6, GB: 1e9 };

/** The number that a cell shows, in milliseconds or bytes where it has a unit. */
function shown(cell: string): number {
  const [, sign, digits, unit] = /^([+−]?)([\d,.]+)(?: (\S+))?$/.exec(cell)!;
  return (sign === '−' ? -1 : 1) * Number(digits.replaceAll(',', '')) * (scales[unit] ?? 1);
}

/** Three digits are shown. */
function expectShown(cell: string, value: number): void {
  expect(Math.abs(shown(cell) - value), `${cell} for ${value}`).toBeLessThanOrEqual(Math.abs(value) * 0.0051);
}

/** One decimal is shown. */
function expectPercent(cell: string, value: number): void {
  expect(cell).toMatch(/^[+−]?\d+\.\d %$/);
  expect(Math.abs(shown(cell) - value), `${cell} for ${value}`).toBeLessThan(0.0501);
}

function middle(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  expect(sorted.length % 2).toBe(1);
  return sorted[(sorted.length - 1) / 2];
}

/** Both widths and both colour schemes of a page; the figures that were seen. */
async function examine(html: string): Promise<{ tab: Page; figures: Set<string>; pictures: Picture[] }> {
  const { tab, complaints } = await show(html);
  const figures = new Set<string>();
  const seen: Picture[] = [];
  for (const width of [PHONE_PX, DESK_PX]) {
    await tab.setViewport({ width, height: 800 });
    for (const picture of await pictures(tab)) {
      expect(picture.width, picture.figure).toBeGreaterThan(300);
      expect(picture.height, picture.figure).toBeGreaterThan(100);
      expect(picture.marks, picture.figure).toBeGreaterThan(1);
      expect(picture.cut, picture.figure).toEqual([]);
      expect(picture.overlapping, picture.figure).toEqual([]);
      expect(picture.text).not.toMatch(/NaN|undefined|Infinity|⚠/);
      figures.add(picture.figure);
      seen.push(picture);
    }
    const scrollable = await tab.evaluate(() => document.documentElement.scrollWidth - window.innerWidth);
    expect(scrollable, `sideways at ${width} px`).toBeLessThanOrEqual(0);
  }
  const looks: { ground: string; image: string }[] = [];
  for (const value of ['light', 'dark']) {
    await tab.emulateMediaFeatures([{ name: 'prefers-color-scheme', value }]);
    const ground = await tab.$eval('body', (body) => getComputedStyle(body).backgroundColor);
    looks.push({ ground, image: await tab.screenshot({ fullPage: true, encoding: 'base64' }) });
  }
  expect(looks[0].ground).not.toBe(looks[1].ground);
  expect(looks[0].image).not.toBe(looks[1].image);
  expect(await tab.$eval('body', (body) => body.innerText)).not.toMatch(/NaN|undefined|Infinity/);
  expect(complaints).toEqual([]);
  return { tab, figures, pictures: seen };
}

/** Holds the table of a comparison against its JSON, by arithmetic of the test's own. */
async function expectTable(tab: Page, comparison: Comparison): Promise<void> {
  const table = (await rows(tab, 'comparison')).filter((row) => row.length > 1);
  expect(table).toHaveLength(comparison.cells.length);
  const sizes = [...new Set(comparison.cells.map(({ frames }) => frames))];
  for (const [index, [label, ...cells]] of table.entries()) {
    const frames = sizes[Math.floor(index / 7)];
    const none = comparison.cells.find((cell) => cell.policy === 'none' && cell.frames === frames)!;
    const [policy, fork] = label.split(' + ');
    const cell = comparison.cells.find(
      (one) => one.policy === policy && one.fork === (fork === 'fork') && one.frames === frames,
    )!;
    const of = (figure: (run: ComparisonRun) => number): number => middle(cell.runs.map(figure));
    expectShown(
      cells[0],
      of((run) => run.runMs),
    );
    expectShown(
      cells[3],
      of((run) => run.checkpointCount),
    );
    expectShown(
      cells[13],
      of((run) => run.faults.soft),
    );
    expectShown(
      cells[14],
      of((run) => run.faults.hard),
    );
    if (policy === 'none') {
      expect(cells.filter((text) => text === '—')).toHaveLength(11);
      continue;
    }
    const ratios = cell.runs.map((run, round) => (run.runMs / none.runs[round].runMs - 1) * 100);
    const [least, most] = cells[2].split(' to ');
    expectPercent(cells[1], middle(ratios));
    expectPercent(least, Math.min(...ratios));
    expectPercent(most, Math.max(...ratios));
    for (const [column, figure] of [
      [4, (run: ComparisonRun) => run.pauseMs],
      [5, (run: ComparisonRun) => run.pauseMsMax],
      [6, (run: ComparisonRun) => run.commitMs],
      [7, (run: ComparisonRun) => run.dirtyPages],
      [8, (run: ComparisonRun) => run.pagesWrittenBefore],
      [9, (run: ComparisonRun) => run.pagesWritten],
      [10, (run: ComparisonRun) => run.pagesRead],
      [11, (run: ComparisonRun) => run.diskAccesses],
      [12, (run: ComparisonRun) => run.bytesWritten],
    ] as const) {
      expectShown(cells[column], of(figure));
    }
    for (const [column, count, costUs] of [
      [15, of((run) => run.faults.protection), of((run) => run.protectionFaultUs)],
      [16, of((run) => run.faults.copy), of((run) => run.copyFaultUs)],
    ] as const) {
      const [faults, cost] = cells[column].split(' × ');
      expectShown(faults, count);
      if (count > 0) expectShown(cost, costUs / 1000);
      else expect(cost).toBeUndefined();
    }
  }
}

it.for([
  ['two memory sizes', [3154, null]],
  ['one memory size', [3154]],
  ['three memory sizes, the image within one of them', [1000, 3154, 10_000]],
] as const)('the page of a comparison with %s', async ([, sizes], { skip }) => {
  const comparison = sampleComparison(sizes.length, sizes);
  const html = await renderComparisonPage(comparison);
  expect(html).not.toContain('<script');
  if (browser === undefined) return skip(NO_BROWSER);
  const { tab, figures, pictures: seen } = await examine(html);
  expect([...figures]).toEqual(['run-time', 'disk-accesses', 'pause']);
  // A picture a memory size, on either width, with a dot for each policy that saves.
  const times = seen.filter(({ figure }) => figure === 'run-time');
  expect(times.map(({ marks }) => marks)).toEqual(times.map(() => 6));
  expect(times).toHaveLength(2 * sizes.length);
  await expectTable(tab, comparison);
  await tab.close();
});

it('the page of the paper', async ({ skip }) => {
  const results = samplePaper(3);
  const html = await renderPaperPage(results);
  expect(html).not.toContain('<script');
  if (browser === undefined) return skip(NO_BROWSER);
  const { tab, figures } = await examine(html);
  expect([...figures]).toEqual(['figure-5', 'figure-6', 'figure-7', 'table-1-plot']);

  const average = (values: readonly number[]): number => values.reduce((sum, value) => sum + value) / values.length;
  const five = Object.fromEntries(
    (await rows(tab, 'figure-5-table')).map(([name, here, paper]) => [name, { here, paper }]),
  );
  const { checkpoints } = results.figure5;
  const [dirty, incremental, continuous] = (['dirtyPages', 'incremental', 'continuous'] as const).map((key) =>
    average(checkpoints.map((checkpoint) => checkpoint[key])),
  );
  expectShown(five['dirty pages'].here, dirty);
  expectShown(five['accesses, incremental'].here, incremental);
  expectShown(five['accesses, continuous'].here, continuous);
  expectPercent(five['saved against incremental'].here, (1 - continuous / incremental) * 100);
  expect(Object.values(five).map(({ paper }) => paper)).toEqual([
    '3,154',
    '9,008',
    '—',
    '376',
    '677',
    '75',
    '88.9 %',
    '80.1 %',
  ]);

  const six = Object.fromEntries(
    (await rows(tab, 'figure-6-table')).map(([name, here, paper]) => [name, [here, paper]]),
  );
  const saved = results.figure6.checkpoints.map((one) => (1 - one.continuous / one.incremental) * 100);
  expect(six['saved, least'][1]).toBe('15.0 %');
  expect(six['saved, mean'][1]).toBe('35.0 %');
  expect(six['saved, most'][1]).toBe('51.7 %');
  expectPercent(six['saved, mean'][0], average(saved));
  expectPercent(six['saved, least'][0], Math.min(...saved));

  const seven = await rows(tab, 'figure-7-table');
  expect(seven.map(([size]) => size)).toEqual(results.figure7.sizes.map(({ size }) => `${size}²`));
  for (const [index, entry] of results.figure7.sizes.entries()) {
    const [, pages, ...cells] = seven[index];
    expectShown(pages, entry.pages);
    for (const [column, key] of (['dirtyPages', 'incremental', 'continuous'] as const).entries()) {
      expectShown(cells[column], entry[key]);
    }
  }

  const one = (await rows(tab, 'table-1')).filter((row) => row.length > 1);
  expect(one).toHaveLength(14);
  for (const [index, row] of one.entries()) {
    const { size, cells } = results.table1.sizes[Math.floor(index / 7)];
    const [policy, fork] = row[0].split(' + ');
    const cell = cells.find((other) => other.policy === policy && other.fork === (fork === 'fork'))!;
    const paper = paperTable1.find((entry) => entry.size === size)!.times;
    const there = paper.find((time) => time.policy === policy && time.fork === cell.fork)!;
    expect(row[6]).toBe(`${Math.floor(there.seconds / 60)}:${String(there.seconds % 60).padStart(2, '0')}`);
    if (policy === 'none') continue;
    const here = (middle(cell.runs.map(({ ms, noneMs }) => ms / noneMs)) - 1) * 100;
    expectPercent(row[1], here);
    expectPercent(row[4], (there.seconds / paper[0].seconds - 1) * 100);
  }
  await tab.close();
});

const nothingDone = { pagesWritten: 0, pagesRead: 0, diskAccesses: 0, pauseMs: 0, pauseMsMax: 0, commitMs: 0 };

/** A sample with something done to each of its runs. */
function altered(change: (run: ComparisonRun, comparison: Comparison) => void): Comparison {
  const comparison = sampleComparison(7);
  for (const { runs } of comparison.cells) for (const run of runs) change(run, comparison);
  return comparison;
}

it.for([
  [
    'times of microseconds',
    altered((run) => {
      run.pauseMs /= 2000;
      run.pauseMsMax /= 1000;
      run.commitMs /= 900;
    }),
  ],
  [
    'pauses a factor of thirty apart',
    altered((run) => {
      run.pauseMs = run.pauseMs > 100 ? 15 : 0.5;
      run.pauseMsMax = run.pauseMs;
      run.commitMs = run.pauseMs;
    }),
  ],
  ['times without a difference', altered((run) => void (run.runMs = 1000))],
  ['nothing accessed and no pause', altered((run) => Object.assign(run, nothingDone))],
  [
    'millions of pages',
    altered((run) => {
      run.pagesWritten *= 400;
      run.pagesRead *= 400;
      run.diskAccesses *= 400;
    }),
  ],
  [
    'one round',
    altered((_, comparison) => {
      comparison.rounds = 1;
      for (const cell of comparison.cells) cell.runs.length = 1;
    }),
  ],
] as const)('a comparison with %s is whole and readable', async ([, comparison], { skip }) => {
  const html = await renderComparisonPage(comparison);
  if (browser === undefined) return skip(NO_BROWSER);
  const { tab, figures } = await examine(html);
  expect([...figures]).toEqual(['run-time', 'disk-accesses', 'pause']);
  await tab.close();
});

it('a comparison without a run that takes no checkpoints has its accesses and pauses, and says what it lacks', async ({
  skip,
}) => {
  const comparison = sampleComparison(8, [3154]);
  comparison.cells = comparison.cells.filter(({ policy }) => policy === 'continuous');
  const html = await renderComparisonPage(comparison);
  expect(html).toContain('There is no run without checkpoints to compare with.');
  if (browser === undefined) return skip(NO_BROWSER);
  const { tab, figures } = await examine(html);
  expect([...figures]).toEqual(['disk-accesses', 'pause']);
  await tab.close();
});
