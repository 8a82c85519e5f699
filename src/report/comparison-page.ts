/** The page of a comparison: what each policy cost, the table, and three figures. One HTML file that stands alone. */
import type { PlotOptions } from '@observablehq/plot';
import type { Comparison, ComparisonRun } from './comparison.ts';
import {
  type CellSummary,
  type MemorySummary,
  accessSentence,
  commandText,
  headlines,
  outputSentence,
  pauseSentence,
  ratioSentence,
  roundsText,
  savingCells,
  summarize,
  triggerText,
} from './comparison-summary.ts';
import { comparisonColumns } from './comparison-table.ts';
import { measuredText } from './machine-description.ts';
import { type Markup, markup } from './markup.ts';
import { capitalized, countText, overheadText } from './number-text.ts';
import { type Figure, type Panel, figure, legendEntry, page, paragraphs, table } from './page.ts';
import {
  type PlotLibrary,
  domainWithRoom,
  loadPlotKit,
  logarithmicTicks,
  textWidthPx,
  tickMarginPx,
} from './plot-kit.ts';
import { policyColour } from './policy.ts';

/** Heights and margins of plots with a line a policy, in CSS pixels. */
const ROW_PX = 28;
const AXIS_PX = 46;
const TOP_PX = 8;
/** Times further apart than this factor need a logarithmic scale. */
const LINEAR_FACTOR = 20;

export async function renderComparisonPage(comparison: Comparison): Promise<string> {
  const kit = await loadPlotKit();
  const memories = summarize(comparison);
  const command = commandText(comparison);
  const measured = [
    `${capitalized(triggerText(comparison))}; ${roundsText(comparison)}.`,
    outputSentence(comparison),
    measuredText(comparison.machine, comparison.createdMs),
  ].join(' ');
  return page(`Checkpoint policies compared: ${command}`, [
    markup`<h1>What checkpoints cost: <code>${command}</code></h1>
${paragraphs(headlines(comparison, memories), 'lead')}
${paragraphs([measured], 'soft')}
<h2>All figures</h2>
<p>Medians over the rounds. “Written before” are the dirty pages that had left memory before the checkpoint; “disk
accesses” are the pages written plus the pages read at the checkpoint.</p>
`,
    comparisonTable(memories),
    markup`<h2>Run time</h2>`,
    figure(kit, ratioFigure(kit.plot, comparison, memories)),
    markup`<h2>Disk accesses</h2>`,
    figure(kit, accessFigure(kit.plot, memories)),
    markup`<h2>Pause</h2>`,
    figure(kit, pauseFigure(kit.plot, memories)),
  ]);
}

function comparisonTable(memories: readonly MemorySummary[]): Markup {
  const groups = [...new Set(comparisonColumns.map(({ group }) => group))].map((name) => ({
    name,
    columns: comparisonColumns
      .filter(({ group }) => group === name)
      .map(({ head: [first, second] }) =>
        first.endsWith('-') ? first.slice(0, -1) + second : `${first} ${second}`.trim(),
      ),
  }));
  return table({
    id: 'comparison',
    caption: 'Each policy at each memory size',
    corner: 'policy',
    groups,
    sections: memories.map(({ label, cells }) => ({
      name: label,
      rows: cells.map((cell) => [cell.label, ...comparisonColumns.map((column) => column.text(cell))]),
    })),
  });
}

/** A panel a memory size; a single one takes the whole width. */
function panels(
  memories: readonly MemorySummary[],
  what: string,
  options: (memory: MemorySummary, widthPx: number) => PlotOptions,
): Panel[] {
  return memories
    .filter((memory) => savingCells(memory).length > 0)
    .map((memory, _index, all) => ({
      title: memory.label,
      isFull: all.length === 1,
      label: `${what}, ${memory.label}`,
      options: (widthPx) => options(memory, widthPx),
    }));
}

/** What plots with a line a policy have in common, and the length that is left for their scale. */
function policyRows(
  cells: readonly CellSummary[],
  widthPx: number,
  mostText: string,
): { frame: PlotOptions; lengthPx: number } {
  const marginRight = tickMarginPx(mostText);
  const marginLeft = Math.max(...cells.map(({ label }) => textWidthPx(label))) + 12;
  return {
    frame: {
      height: TOP_PX + AXIS_PX + ROW_PX * cells.length,
      marginLeft,
      marginRight,
      marginTop: TOP_PX,
      marginBottom: AXIS_PX,
      y: { domain: cells.map(({ label }) => label), label: null, type: 'band', tickSize: 0, padding: 0.3 },
    },
    lengthPx: widthPx - marginLeft - marginRight,
  };
}

/** A scale of about a tick for each 60 pixels. */
function tickCount(lengthPx: number): number {
  return Math.max(3, Math.floor(lengthPx / 70));
}

function ratioFigure(plot: PlotLibrary, comparison: Comparison, memories: readonly MemorySummary[]): Figure {
  const points = memories.flatMap(savingCells).flatMap(({ ratio }) => (ratio === undefined ? [] : [ratio]));
  const least = Math.min(1, ...points.map((ratio) => ratio.least));
  const most = Math.max(1.001, ...points.map((ratio) => ratio.most));
  const margin = (most - least) * 0.04;
  const draw = (memory: MemorySummary, widthPx: number): PlotOptions => {
    const cells = savingCells(memory);
    const rows = cells.flatMap(({ label, policy, fork, ratio }) =>
      ratio === undefined ? [] : [{ label, fork, colour: policyColour(policy), ...ratio }],
    );
    const { frame, lengthPx } = policyRows(cells, widthPx, '1.0');
    const domain = domainWithRoom(least - margin, most, lengthPx, textWidthPx('+100.0 %') + 8);
    return {
      ...frame,
      x: {
        domain,
        ticks: tickCount(lengthPx),
        grid: true,
        label: 'run time ÷ run time with none (×)',
        labelArrow: 'none',
      },
      marks: [
        plot.ruleX([1], { stroke: 'var(--none)', strokeWidth: 1.5 }),
        plot.ruleY(rows, { y: 'label', x1: 'least', x2: 'most', stroke: 'colour', strokeWidth: 2 }),
        ...markByFork(plot, rows, 'median'),
        plot.text(rows, {
          y: 'label',
          x: 'most',
          text: ({ median }: { median: number }) => overheadText(median),
          dx: 9,
          textAnchor: 'start',
        }),
      ],
    };
  };
  return {
    id: 'run-time',
    legend: [
      legendEntry('dot', 'var(--ink)', 'median over the rounds'),
      legendEntry('ring', 'var(--ink)', 'the same with fork'),
      legendEntry('range', 'var(--ink)', 'least to most'),
      legendEntry('tick', 'var(--none)', 'none'),
    ],
    panels: panels(
      memories.filter(({ cells }) => cells.some(({ ratio }) => ratio !== undefined)),
      'Run time divided by that with no checkpoints',
      draw,
    ),
    caption: [
      'Ratios between runs of the same round. The axis does not begin at zero.',
      ...memories.map((memory) => named(memories, memory, ratioSentence(comparison, memory))),
    ],
  };
}

/** A filled dot without fork, a ring with it. */
function markByFork<Row extends { fork: boolean }>(
  plot: PlotLibrary,
  rows: readonly Row[],
  x: keyof Row & string,
): PlotOptions['marks'] & object {
  const dots = rows.filter(({ fork }) => !fork);
  const rings = rows.filter(({ fork }) => fork);
  return [
    plot.dot(dots, { y: 'label', x, r: 5, fill: 'colour' }),
    plot.dot(rings, { y: 'label', x, r: 4.5, stroke: 'colour', strokeWidth: 2, fill: 'var(--ground)' }),
  ];
}

function accessFigure(plot: PlotLibrary, memories: readonly MemorySummary[]): Figure {
  const accesses = (cell: CellSummary): number => cell.of((run) => run.diskAccesses);
  const most = Math.max(1, ...memories.flatMap(savingCells).map(accesses));
  const draw = (memory: MemorySummary, widthPx: number): PlotOptions => {
    const cells = savingCells(memory);
    const parts = cells.flatMap((cell) => {
      const written = cell.of((run) => run.pagesWritten);
      const read = cell.of((run) => run.pagesRead);
      const colour = policyColour(cell.policy);
      return [
        { label: cell.label, colour, from: 0, to: written, opacity: 1 },
        { label: cell.label, colour, from: written, to: written + read, opacity: 0.4 },
      ];
    });
    const totals = cells.map((cell) => ({ label: cell.label, total: accesses(cell) }));
    const { frame, lengthPx } = policyRows(cells, widthPx, countText(most));
    const domain = domainWithRoom(0, most, lengthPx, textWidthPx(countText(most)) + 8);
    return {
      ...frame,
      x: {
        domain,
        ticks: tickCount(lengthPx),
        grid: true,
        label: 'pages accessed at a checkpoint (4 KB pages)',
        labelArrow: 'none',
      },
      marks: [
        plot.barX(parts, { y: 'label', x1: 'from', x2: 'to', fill: 'colour', fillOpacity: 'opacity' }),
        plot.ruleX([0], { stroke: 'var(--ink)' }),
        plot.text(totals, {
          y: 'label',
          x: 'total',
          text: ({ total }: { total: number }) => countText(total),
          dx: 5,
          textAnchor: 'start',
        }),
      ],
      opacity: { type: 'identity' },
    };
  };
  return {
    id: 'disk-accesses',
    legend: [legendEntry('bar', 'var(--ink)', 'pages written'), legendEntry('pale', 'var(--ink)', 'pages read back')],
    panels: panels(memories, 'Disk accesses at a checkpoint', draw),
    caption: memories.map((memory) => named(memories, memory, accessSentence(memory))),
  };
}

function pauseFigure(plot: PlotLibrary, memories: readonly MemorySummary[]): Figure {
  const figures: readonly ((run: ComparisonRun) => number)[] = [
    (run) => run.pauseMs,
    (run) => run.pauseMsMax,
    (run) => run.commitMs,
  ];
  const values = memories.flatMap(savingCells).flatMap((cell) => figures.map((of) => cell.of(of)));
  const least = Math.min(...values);
  const most = Math.max(...values);
  const isLogarithmic = least > 0 && most / least > LINEAR_FACTOR;
  const draw = (memory: MemorySummary, widthPx: number): PlotOptions => {
    const cells = savingCells(memory);
    const rows = cells.map((cell) => {
      const [pause, longest, durable] = figures.map((of) => cell.of(of));
      return { label: cell.label, fork: cell.fork, colour: policyColour(cell.policy), pause, longest, durable };
    });
    const { frame, lengthPx } = policyRows(cells, widthPx, countText(most));
    return {
      ...frame,
      x: {
        ...(isLogarithmic
          ? { type: 'log' as const, domain: [least / 1.25, most * 1.25], tickFormat: millisecondTick }
          : { domain: [0, most * 1.05] }),
        ticks: isLogarithmic ? logarithmicTicks(least / 1.25, most * 1.25, lengthPx) : tickCount(lengthPx),
        grid: true,
        label: `ms${isLogarithmic ? ' (logarithmic scale)' : ''}`,
        labelArrow: 'none',
      },
      marks: [
        plot.ruleY(rows, { y: 'label', x1: 'pause', x2: 'longest', stroke: 'colour', strokeWidth: 2 }),
        plot.tickX(rows, { y: 'label', x: 'longest', stroke: 'colour', strokeWidth: 2, insetTop: 3, insetBottom: 3 }),
        ...markByFork(plot, rows, 'pause'),
        plot.dot(rows, { y: 'label', x: 'durable', symbol: 'diamond', r: 4.5, stroke: 'colour', strokeWidth: 2 }),
      ],
    };
  };
  return {
    id: 'pause',
    legend: [
      legendEntry('dot', 'var(--ink)', 'median pause'),
      legendEntry('ring', 'var(--ink)', 'the same with fork'),
      legendEntry('tick', 'var(--ink)', 'longest pause'),
      legendEntry('diamond', 'var(--ink)', 'durable after (median)'),
    ],
    panels: panels(memories, 'Pause of the program at a checkpoint and time until it is durable', draw),
    caption: memories.map((memory) => named(memories, memory, pauseSentence(memory))),
  };
}

function millisecondTick(ms: number): string {
  return ms >= 1 ? countText(ms) : String(Number(ms.toPrecision(3)));
}

/** Where there are several memory sizes, a sentence says of which it speaks. */
function named(memories: readonly MemorySummary[], memory: MemorySummary, sentence: string): string {
  return capitalized(memories.length === 1 ? sentence : `${memory.label}: ${sentence}`);
}
