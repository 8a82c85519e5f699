/**
 * The frame of a report page and its parts: figures with their legends, tables that scroll inside their own box. A page is
 * one file: no script, and its own policy forbids the browser to fetch anything.
 */
import { Markup, markup } from './markup.ts';
import { pageStyle } from './page-style.ts';
import type { PlotKit } from './plot-kit.ts';
import type { PlotOptions } from '@observablehq/plot';

/** Widths for which plots are drawn, in CSS pixels: a column of text, half of one, a phone. */
const WIDE_PX = 900;
const HALF_PX = 430;
const NARROW_PX = 340;

export function page(title: string, body: readonly Markup[]): string {
  return markup`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; img-src data:">
<link rel="icon" href="data:,">
<title>${title}</title>
<style>${new Markup(pageStyle)}</style>
</head>
<body>
<main>
${body}
</main>
</body>
</html>
`.text;
}

/** One picture of a figure, drawn for each width at which it is shown. */
export interface Panel {
  readonly title?: string;
  readonly isFull: boolean;
  /** What it shows, for those who cannot see it. */
  readonly label: string;
  readonly options: (widthPx: number) => PlotOptions;
}

export interface Figure {
  /** Anchor of the figure in the page. */
  readonly id: string;
  readonly legend: readonly Markup[];
  readonly panels: readonly Panel[];
  /** Sentences that say what is seen. */
  readonly caption: readonly string[];
}

/** A paragraph for each text; a number stays on one line with its unit, so do a policy's name and a date. */
export function paragraphs(texts: readonly string[], style = ''): Markup[] {
  return texts.map((text) => {
    const kept = text
      .replace(/(\d) (%|×|ms|µs|s|B|kB|KB|MB|GB|pages|frames)(?![\w])/g, '$1\u00a0$2')
      .replace(/ \+ fork\b/g, '\u00a0+\u00a0fork')
      .replace(/\b(\d{4})-(\d\d)-(\d\d)\b/g, '$1\u2011$2\u2011$3');
    return style === '' ? markup`<p>${kept}</p>` : markup`<p class="${style}">${kept}</p>`;
  });
}

export function figure(kit: PlotKit, { id, legend, panels, caption }: Figure): Markup {
  const pictures = markup`<ul class="legend">${legend}</ul>
<div class="panels">
${panels.map((panel) => panelMarkup(kit, panel))}
</div>`;
  return markup`<figure id="${id}">
${panels.length === 0 ? '' : pictures}
<figcaption>${paragraphs(caption)}</figcaption>
</figure>
`;
}

function panelMarkup(kit: PlotKit, { title, isFull, label, options }: Panel): Markup {
  const draw = (widthPx: number): Markup => kit.draw({ ...options(widthPx), width: widthPx }, label);
  return markup`<div class="panel${isFull ? ' full' : ''}">${title === undefined ? '' : markup`<h3>${title}</h3>`}
<div class="${isFull ? 'wide' : 'wide half'}">${draw(isFull ? WIDE_PX : HALF_PX)}</div>
<div class="narrow">${draw(NARROW_PX)}</div></div>
`;
}

/** Shapes of the marks in a legend, drawn as in the plots. */
export type LegendMark = 'dot' | 'ring' | 'range' | 'tick' | 'diamond' | 'bar' | 'pale' | 'line' | 'dashed';

const legendShapes: Readonly<Record<LegendMark, (colour: string) => Markup>> = {
  dot: (colour) => markup`<circle cx="12" cy="7" r="5" fill="${colour}"/>`,
  ring: (colour) => markup`<circle cx="12" cy="7" r="4.25" fill="none" stroke="${colour}" stroke-width="2"/>`,
  range: (colour) => markup`<path d="M1 7H23" stroke="${colour}" stroke-width="2"/>`,
  tick: (colour) => markup`<path d="M12 1V13" stroke="${colour}" stroke-width="2"/>`,
  diamond: (colour) => markup`<path d="M12 1L18 7L12 13L6 7Z" fill="none" stroke="${colour}" stroke-width="2"/>`,
  bar: (colour) => markup`<rect y="1" width="24" height="12" fill="${colour}"/>`,
  pale: (colour) => markup`<rect y="1" width="24" height="12" fill="${colour}" fill-opacity="0.4"/>`,
  line: (colour) => markup`<path d="M1 7H23" stroke="${colour}" stroke-width="2.5"/>`,
  dashed: (colour) => markup`<path d="M1 7H23" stroke="${colour}" stroke-width="2" stroke-dasharray="5 3"/>`,
};

export function legendEntry(mark: LegendMark, colour: string, text: string): Markup {
  const shape = legendShapes[mark](colour);
  return markup`<li><svg width="24" height="14" viewBox="0 0 24 14" aria-hidden="true">${shape}</svg>${text}</li>`;
}

export interface Table {
  readonly id: string;
  readonly caption: string;
  /** Columns in groups; the first column has the names of the rows and belongs to none. */
  readonly corner: string;
  readonly groups: readonly { readonly name: string; readonly columns: readonly string[] }[];
  /** Rows in sections: name of the row, then its cells. A section without a name has no line of its own. */
  readonly sections: readonly { readonly name: string; readonly rows: readonly (readonly string[])[] }[];
}

export function table({ id, caption, corner, groups, sections }: Table): Markup {
  const columnCount = 1 + groups.reduce((sum, { columns }) => sum + columns.length, 0);
  const isGrouped = groups.some(({ name }) => name !== '');
  const groupRow = markup`<tr><td></td>${groups.map(
    ({ name, columns }) => markup`<th class="group" scope="colgroup" colspan="${columns.length}">${name}</th>`,
  )}</tr>`;
  const heads = groups.flatMap(({ columns }) => columns.map((head) => markup`<th scope="col">${head}</th>`));
  const body = sections.map(({ name, rows }) => {
    const line = markup`<tr><th class="section" scope="rowgroup" colspan="${columnCount}"><span>${name}</span></th></tr>`;
    const lines = rows.map(
      ([label, ...cells]) =>
        markup`<tr><th scope="row">${label}</th>${cells.map((cell) => markup`<td>${cell}</td>`)}</tr>`,
    );
    return markup`<tbody>${name === '' ? '' : line}${lines}</tbody>`;
  });
  return markup`<div class="box" tabindex="0" role="region" aria-label="${caption}">
<table id="${id}"><caption><span>${caption}</span></caption>
<thead>${isGrouped ? groupRow : ''}<tr><th class="corner" scope="col">${corner}</th>${heads}</tr></thead>
${body}</table></div>
`;
}
