/** The page of the paper's evaluation made again: each figure and table beside the paper's numbers. */
import { measuredText } from './machine-description.ts';
import { type Markup, markup } from './markup.ts';
import { countText, minutesText, overheadText, shareText } from './number-text.ts';
import { figure, page, paragraphs, table } from './page.ts';
import type { PaperResults } from './paper.ts';
import { figure5, figure6, figure7, table1Figure } from './paper-figures.ts';
import { paperCosts, paperFigure5, paperFigure6, paperFigure7, paperFrames } from './paper-numbers.ts';
import { trackersSection } from './paper-trackers.ts';
import { type Accesses, meanAccesses, outPart, savedPart, tableLines } from './paper-summary.ts';
import { loadPlotKit } from './plot-kit.ts';
import { mean, spreadOf } from './statistics.ts';

const NOTHING = '—';

export async function renderPaperPage(results: PaperResults): Promise<string> {
  const kit = await loadPlotKit();
  return page('Continuous checkpointing, measured again', [
    markup`<h1>Continuous checkpointing, measured again</h1>
${paragraphs([leadText(results)], 'lead')}
<p>The figures and the table of Hsu &amp; Chang, “Continuous Checkpointing: Joining the Checkpointing with Virtual Memory
Paging” (Software—Practice and Experience 27(9), 1997), with the policies that really run and the paper's own sizes.
Checkpoints are taken by the program's progress and not by time, so that page counts do not depend on the speed of the
machine. A disk access is a page of 4 KB written or read at a checkpoint. The paper's curves are not in its text, so that
its means and limits stand here.</p>
${paragraphs([measuredText(results.machine, results.createdMs)], 'soft')}
<h2>Figure 5: all shortest paths, ${results.figure5.size} nodes</h2>
`,
    figure(kit, figure5(kit.plot, results, paperFigure5)),
    figure5Table(results),
    markup`<h2>Figure 6: product of ${results.figure6.size} × ${results.figure6.size} matrices</h2>`,
    figure(kit, figure6(kit.plot, results)),
    figure6Table(results),
    markup`<h2>Figure 7: products of matrices by size</h2>`,
    figure(kit, figure7(kit.plot, results)),
    figure7Table(results),
    markup`<h2>Table I: what each policy costs</h2>`,
    figure(kit, table1Figure(kit.plot, results)),
    table1(results),
    ...paragraphs([
      `Predicted times are the simulator's, with the costs that the paper states: ${paperCosts.pageMs} ms to write a page, ` +
        `${paperCosts.copyFaultMs} ms for a copy fault. Measured overheads here are of another disk and processor, so the ` +
        "order of the policies can be compared with the paper's, and their amounts only with care.",
    ]),
    ...(results.trackers === undefined ? [] : trackersSection(results.trackers)),
  ]);
}

function leadText({ figure5: { size, checkpoints }, figure6: matmul }: PaperResults): string {
  return (
    `On apsp ${size}, continuous checkpointing accessed ${shareText(savedPart(meanAccesses(checkpoints)))} fewer pages a ` +
    `checkpoint than incremental (${shareText(savedPart(paperFigure5))} in the paper); on matmul ${matmul.size}, ` +
    `${shareText(mean(matmul.checkpoints.map(savedPart)))} fewer (${shareText(paperFigure6.meanSaved)} in the paper).`
  );
}

/** Rows that both figures have. */
function accessRows(here: Accesses, paper: Accesses): string[][] {
  return [
    ['dirty pages', countText(here.dirtyPages), countText(paper.dirtyPages)],
    ['accesses, incremental', countText(here.incremental), countText(paper.incremental)],
    ['accesses, continuous', countText(here.continuous), countText(paper.continuous)],
    ['saved against incremental', shareText(savedPart(here)), shareText(savedPart(paper))],
    ['dirty pages out before', shareText(outPart(here)), shareText(outPart(paper))],
  ];
}

function figure5Table({ figure5: { pages, checkpoints }, frames }: PaperResults): Markup {
  return table({
    id: 'figure-5-table',
    caption: 'Figure 5 in numbers: means per checkpoint',
    corner: '',
    groups: [{ name: '', columns: ['here', 'paper'] }],
    sections: [
      {
        name: '',
        rows: [
          ['frames', countText(frames), countText(paperFrames)],
          ['pages of the program', countText(pages), countText(paperFigure5.pages)],
          ['checkpoints', countText(checkpoints.length), NOTHING],
          ...accessRows(meanAccesses(checkpoints), paperFigure5),
        ],
      },
    ],
  });
}

function figure6Table({ figure6: { pages, checkpoints }, frames }: PaperResults): Markup {
  const here = meanAccesses(checkpoints);
  const saved = spreadOf(checkpoints.map(savedPart));
  const { leastSaved, meanSaved, mostSaved } = paperFigure6;
  return table({
    id: 'figure-6-table',
    caption: 'Figure 6 in numbers',
    corner: '',
    groups: [{ name: '', columns: ['here', 'paper'] }],
    sections: [
      {
        name: '',
        rows: [
          ['frames', countText(frames), countText(paperFrames)],
          ['pages of the program', countText(pages), countText(paperFigure6.pages)],
          ['checkpoints', countText(checkpoints.length), NOTHING],
          ['dirty pages', countText(here.dirtyPages), NOTHING],
          ['accesses, incremental', countText(here.incremental), NOTHING],
          ['accesses, continuous', countText(here.continuous), NOTHING],
          ['saved, least', shareText(saved.least), shareText(leastSaved)],
          ['saved, mean', shareText(mean(checkpoints.map(savedPart))), shareText(meanSaved)],
          ['saved, most', shareText(saved.most), shareText(mostSaved)],
        ],
      },
    ],
  });
}

function figure7Table({ figure7: { sizes } }: PaperResults): Markup {
  const paper = (size: number): string =>
    size > paperFigure7.turningSize ? countText(paperFigure7.pagesBeyond) : NOTHING;
  return table({
    id: 'figure-7-table',
    caption: 'Figure 7 in numbers: means per checkpoint',
    corner: 'size',
    groups: [
      { name: '', columns: ['pages', 'dirty pages', 'incremental', 'continuous', 'saved', 'continuous in the paper'] },
    ],
    sections: [
      {
        name: '',
        rows: sizes
          .toSorted((a, b) => a.size - b.size)
          .map((entry) => [
            `${entry.size}²`,
            countText(entry.pages),
            countText(entry.dirtyPages),
            countText(entry.incremental),
            countText(entry.continuous),
            shareText(savedPart(entry)),
            paper(entry.size),
          ]),
      },
    ],
  });
}

function table1(results: PaperResults): Markup {
  return table({
    id: 'table-1',
    caption: 'Table I: overhead over no checkpoint, and elapsed time (minutes:seconds)',
    corner: 'policy',
    groups: [
      { name: 'overhead here', columns: ['median', 'least to most'] },
      { name: 'overhead', columns: ['predicted', 'paper'] },
      { name: 'elapsed time', columns: ['predicted', 'paper'] },
    ],
    sections: results.table1.sizes.map((entry) => ({
      name: `${entry.size} × ${entry.size}`,
      rows: tableLines(entry).map((line) => {
        const isNone = line.policy === 'none';
        const overhead = (ratio: number | undefined): string =>
          ratio === undefined || isNone ? NOTHING : overheadText(ratio);
        const time = (seconds: number | undefined): string => (seconds === undefined ? NOTHING : minutesText(seconds));
        return [
          line.label,
          overhead(line.ratio?.median),
          line.ratio === undefined || isNone
            ? NOTHING
            : `${overheadText(line.ratio.least)} to ${overheadText(line.ratio.most)}`,
          overhead(line.predictedRatio),
          overhead(line.paperRatio),
          time(line.predictedSeconds),
          time(line.paperSeconds),
        ];
      }),
    })),
  });
}
