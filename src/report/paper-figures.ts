/** Figures 5, 6 and 7 and Table I of the paper as plots: what was measured here, and of the paper's what it states. */
import type { PlotOptions } from '@observablehq/plot';
import { countText } from './number-text.ts';
import type { Figure, Panel } from './page.ts';
import { legendEntry } from './page.ts';
import type { PaperCheckpoint, PaperResults } from './paper.ts';
import { paperFigure6 } from './paper-numbers.ts';
import {
  type Accesses,
  figure5Findings,
  figure6Findings,
  figure7Findings,
  meanAccesses,
  outgrowingSize,
  savedPart,
  tableFindings,
  tableLines,
} from './paper-summary.ts';
import { type PlotLibrary, domainWithRoom, textWidthPx, tickMarginPx } from './plot-kit.ts';
import { policyColour } from './policy.ts';

const PLOT_HEIGHT_PX = 260;
const MARGIN_LEFT_PX = 52;
const MARGIN_BOTTOM_PX = 44;
const ROW_PX = 26;

/** The three quantities of Figures 5 to 7. */
const series = [
  { key: 'dirtyPages', text: 'dirty pages', colour: 'var(--dirty)', dash: '5 3' },
  { key: 'incremental', text: 'accesses, incremental', colour: policyColour('incremental'), dash: 'none' },
  { key: 'continuous', text: 'accesses, continuous', colour: policyColour('continuous'), dash: 'none' },
] as const;

const seriesLegend = series.map(({ text, colour, dash }) =>
  legendEntry(dash === 'none' ? 'line' : 'dashed', colour, text),
);

interface Point extends Accesses {
  readonly x: number;
}

/** A line for each quantity over checkpoints or sizes. */
function seriesMarks(plot: PlotLibrary, points: readonly Point[]): PlotOptions['marks'] & object {
  return series.flatMap(({ key, colour, dash }) => [
    plot.line(points, { x: 'x', y: key, stroke: colour, strokeWidth: 2, strokeDasharray: dash }),
    ...(points.length > 30 ? [] : [plot.dot(points, { x: 'x', y: key, fill: colour, r: 3 })]),
  ]);
}

/** Common to plots over checkpoints and sizes. */
function seriesFrame(xLabel: string, yLabel: string, widthPx: number): PlotOptions {
  return {
    height: PLOT_HEIGHT_PX,
    marginLeft: MARGIN_LEFT_PX,
    marginRight: 16,
    marginTop: 30,
    marginBottom: MARGIN_BOTTOM_PX,
    x: { label: xLabel, labelArrow: 'none', labelAnchor: 'right', ticks: Math.floor(widthPx / 80) },
    y: {
      label: yLabel,
      labelArrow: 'none',
      labelAnchor: 'top',
      grid: true,
      ticks: 5,
      zero: true,
      nice: true,
      tickFormat: countText,
    },
  };
}

function checkpointPanel(plot: PlotLibrary, checkpoints: readonly PaperCheckpoint[], program: string): Panel {
  const points = checkpoints.map(({ index, ...accesses }) => ({ x: index, ...accesses }));
  return {
    title: 'Here, at each checkpoint',
    isFull: true,
    label: `Dirty pages and disk accesses at each checkpoint of ${program}`,
    options: (widthPx) => ({
      ...seriesFrame('checkpoint', 'pages', widthPx),
      marks: [plot.ruleY([0]), ...seriesMarks(plot, points)],
    }),
  };
}

/** Means here and in the paper, a pair of bars for each quantity. */
function meansPanel(plot: PlotLibrary, here: Accesses, paper: Accesses): Panel {
  const rows = series.flatMap(({ key, text, colour }) => [
    { text, colour, label: `${text}: here`, value: here[key], opacity: 1 },
    { text, colour, label: `${text}: paper`, value: paper[key], opacity: 0.4 },
  ]);
  const most = Math.max(...rows.map(({ value }) => value), 1);
  return {
    title: 'Means, here and in the paper',
    isFull: true,
    label: 'Mean dirty pages and disk accesses a checkpoint, here and in the paper',
    options: (widthPx) => {
      const marginLeft = textWidthPx('accesses, incremental: paper') + 10;
      const marginRight = tickMarginPx(countText(most));
      const lengthPx = widthPx - marginLeft - marginRight;
      return {
        height: ROW_PX * rows.length + MARGIN_BOTTOM_PX + 8,
        marginLeft,
        marginRight,
        marginTop: 8,
        marginBottom: MARGIN_BOTTOM_PX,
        x: {
          domain: domainWithRoom(0, most, lengthPx, textWidthPx(countText(most)) + 10),
          ticks: Math.max(2, Math.floor(lengthPx / 80)),
          grid: true,
          label: 'pages a checkpoint',
          labelArrow: 'none',
        },
        y: { type: 'band', domain: rows.map(({ label }) => label), label: null, tickSize: 0, padding: 0.2 },
        opacity: { type: 'identity' },
        marks: [
          plot.barX(rows, { y: 'label', x: 'value', fill: 'colour', fillOpacity: 'opacity' }),
          plot.ruleX([0], { stroke: 'var(--ink)' }),
          plot.text(rows, {
            y: 'label',
            x: 'value',
            text: ({ value }: { value: number }) => countText(value),
            dx: 5,
            textAnchor: 'start',
          }),
        ],
      };
    },
  };
}

export function figure5(plot: PlotLibrary, results: PaperResults, paper: Accesses): Figure {
  const { checkpoints } = results.figure5;
  return {
    id: 'figure-5',
    legend: [...seriesLegend, legendEntry('pale', 'var(--ink)', 'the paper')],
    panels: [checkpointPanel(plot, checkpoints, 'apsp'), meansPanel(plot, meanAccesses(checkpoints), paper)],
    caption: figure5Findings(results),
  };
}

export function figure6(plot: PlotLibrary, results: PaperResults): Figure {
  const { checkpoints } = results.figure6;
  const saved = checkpoints.map((checkpoint) => ({ x: checkpoint.index, percent: savedPart(checkpoint) * 100 }));
  const { leastSaved, meanSaved, mostSaved } = paperFigure6;
  return {
    id: 'figure-6',
    legend: [
      ...seriesLegend,
      legendEntry('dot', policyColour('continuous'), 'saved here'),
      legendEntry('pale', 'var(--dirty)', 'the paper, least to most'),
      legendEntry('dashed', 'var(--ink)', 'the paper, mean'),
    ],
    panels: [
      checkpointPanel(plot, checkpoints, 'matmul'),
      {
        title: 'Accesses saved against incremental',
        isFull: true,
        label: 'Part of the accesses of incremental that continuous saves, at each checkpoint, here and in the paper',
        options: (widthPx) => ({
          ...seriesFrame('checkpoint', '% saved', widthPx),
          y: {
            domain: [Math.min(0, ...saved.map(({ percent }) => percent)), 100],
            label: '% saved',
            labelArrow: 'none',
            labelAnchor: 'top',
            grid: true,
            ticks: 5,
          },
          marks: [
            plot.rect([0], {
              y1: () => leastSaved * 100,
              y2: () => mostSaved * 100,
              fill: 'var(--dirty)',
              fillOpacity: 0.3,
            }),
            plot.ruleY([meanSaved * 100], { stroke: 'var(--ink)', strokeWidth: 1.5, strokeDasharray: '5 3' }),
            plot.ruleY([0]),
            plot.line(saved, { x: 'x', y: 'percent', stroke: policyColour('continuous'), strokeWidth: 2 }),
            plot.dot(saved, { x: 'x', y: 'percent', fill: policyColour('continuous'), r: 4 }),
          ],
        }),
      },
    ],
    caption: figure6Findings(results),
  };
}

export function figure7(plot: PlotLibrary, results: PaperResults): Figure {
  const sizes = results.figure7.sizes.toSorted((a, b) => a.size - b.size);
  const points = sizes.map(({ size, dirtyPages, incremental, continuous }) => ({
    x: size,
    dirtyPages,
    incremental,
    continuous,
  }));
  const outgrowing = outgrowingSize(results);
  return {
    id: 'figure-7',
    legend: [
      ...seriesLegend,
      ...(outgrowing === undefined
        ? []
        : [legendEntry('tick', 'var(--ink)', 'first size whose one matrix is more than the frames')]),
    ],
    panels: [
      {
        isFull: true,
        label: 'Mean dirty pages and disk accesses a checkpoint of matmul, by size of the matrix',
        options: (widthPx) => ({
          ...seriesFrame('rows and columns of the matrix', 'pages a checkpoint (mean)', widthPx),
          // Sizes are names here: without a comma.
          x: {
            label: 'rows and columns of the matrix',
            labelArrow: 'none',
            labelAnchor: 'right',
            ticks: Math.floor(widthPx / 80),
            tickFormat: String,
          },
          marks: [
            plot.ruleY([0]),
            ...(outgrowing === undefined ? [] : [plot.ruleX([outgrowing], { stroke: 'var(--ink)', strokeWidth: 1.5 })]),
            ...seriesMarks(plot, points),
          ],
        }),
      },
    ],
    caption: figure7Findings(results),
  };
}

export function table1Figure(plot: PlotLibrary, results: PaperResults): Figure {
  const lines = results.table1.sizes.map((entry) => ({
    size: entry.size,
    lines: tableLines(entry).filter(({ policy }) => policy !== 'none'),
  }));
  const ratios = lines.flatMap((entry) =>
    entry.lines.flatMap(({ ratio, predictedRatio, paperRatio }) => [
      ratio?.least,
      ratio?.most,
      predictedRatio,
      paperRatio,
    ]),
  );
  const known = ratios.filter((ratio) => ratio !== undefined);
  const least = Math.min(1, ...known);
  const most = Math.max(1.001, ...known);
  const margin = (most - least) * 0.04;
  return {
    id: 'table-1-plot',
    legend: [
      legendEntry('dot', 'var(--ink)', 'here (median, least to most)'),
      legendEntry('diamond', 'var(--ink)', 'the paper'),
      legendEntry('tick', 'var(--ink)', "predicted with the paper's costs"),
    ],
    panels: lines.map(({ size, lines: rows }) => {
      const data = rows.map(({ ratio, ...row }) => ({
        ...row,
        colour: policyColour(row.policy),
        median: ratio?.median,
        least: ratio?.least,
        most: ratio?.most,
      }));
      return {
        title: `${size} × ${size}`,
        isFull: lines.length === 1,
        label: `Run time divided by that with no checkpoints at size ${size}, here, predicted and in the paper`,
        options: (widthPx: number): PlotOptions => {
          const marginLeft = Math.max(...rows.map(({ label }) => textWidthPx(label)), 0) + 12;
          return {
            height: ROW_PX * rows.length + MARGIN_BOTTOM_PX + 8,
            marginLeft,
            marginRight: 14,
            marginTop: 8,
            marginBottom: MARGIN_BOTTOM_PX,
            x: {
              domain: [least - margin, most + margin],
              ticks: Math.max(3, Math.floor((widthPx - marginLeft) / 70)),
              grid: true,
              label: 'time ÷ time with none (×)',
              labelArrow: 'none',
            },
            y: { type: 'band', domain: rows.map(({ label }) => label), label: null, tickSize: 0, padding: 0.3 },
            marks: [
              plot.ruleX([1], { stroke: 'var(--none)', strokeWidth: 1.5 }),
              plot.ruleY(data, { y: 'label', x1: 'least', x2: 'most', stroke: 'colour', strokeWidth: 2 }),
              plot.tickX(data, { y: 'label', x: 'predictedRatio', stroke: 'colour', strokeWidth: 2 }),
              plot.dot(data, { y: 'label', x: 'median', fill: 'colour', r: 5 }),
              plot.dot(data, {
                y: 'label',
                x: 'paperRatio',
                symbol: 'diamond',
                stroke: 'colour',
                strokeWidth: 2,
                r: 5,
              }),
            ],
          };
        },
      };
    }),
    caption: ['The axis does not begin at zero.', ...tableFindings(results)],
  };
}
