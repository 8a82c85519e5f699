/**
 * Plots as SVG text. The plotting library draws into a document that exists only in memory, so no browser is needed; both
 * are loaded when the first page is made, because no other command should pay for them.
 */
import type { PlotOptions } from '@observablehq/plot';
import { Markup } from './markup.ts';

export type PlotLibrary = typeof import('@observablehq/plot');

/** The size of letters of a plot, in CSS pixels at its own width. */
export const PLOT_FONT_PX = 12;
/** Mean width of a letter of the system's fonts at that size; an estimate on the safe side. */
const LETTER_PX = 6.7;

/** Room of a number at a logarithmic scale. */
const LOGARITHMIC_TICK_PX = 44;

export interface PlotKit {
  readonly plot: PlotLibrary;
  /** The picture; `label` is what somebody hears who cannot see it. */
  draw(options: PlotOptions, label: string): Markup;
}

export async function loadPlotKit(): Promise<PlotKit> {
  const [plot, { parseHTML }] = await Promise.all([import('@observablehq/plot'), import('linkedom')]);
  const { document } = parseHTML('<!doctype html><html><body></body></html>');
  return {
    plot,
    draw: (options, label) => {
      const style = { fontSize: `${PLOT_FONT_PX}px`, fontFamily: 'inherit', background: 'none' };
      const picture = plot.plot({ ...options, document, className: 'plot', ariaLabel: label, style });
      picture.setAttribute('role', 'img');
      return new Markup(picture.outerHTML);
    },
  };
}

/** Room that a text needs, in pixels. */
export function textWidthPx(text: string): number {
  return Math.ceil(text.length * LETTER_PX);
}

/**
 * A linear domain from `least` to `most` that leaves `roomPx` of a scale of `lengthPx` free at its upper end, for what is
 * written there.
 */
export function domainWithRoom(
  least: number,
  most: number,
  lengthPx: number,
  roomPx: number,
): [least: number, most: number] {
  const extent = most > least ? most - least : Math.max(1e-9, Math.abs(most) * 0.01);
  return [least, least + (extent * lengthPx) / Math.max(lengthPx / 3, lengthPx - roomPx)];
}

/** A margin in which half of the last tick's number finds room. */
export function tickMarginPx(mostText: string): number {
  return Math.max(14, Math.ceil(textWidthPx(`${mostText}0`) / 2));
}

/** Ticks of a logarithmic scale: 1, 2 and 5 of each power of ten where there is room, else fewer. */
export function logarithmicTicks(least: number, most: number, lengthPx: number): number[] {
  const powers: number[] = [];
  for (let power = Math.floor(Math.log10(least)); power <= Math.ceil(Math.log10(most)); power++) powers.push(power);
  const choices = [
    powers.flatMap((power) => [1, 2, 5].map((digit) => digit * 10 ** power)),
    ...[1, 2, 3, 4].map((step) => powers.filter((power) => power % step === 0).map((power) => 10 ** power)),
  ];
  const within = choices.map((ticks) => ticks.filter((tick) => tick >= least && tick <= most));
  return within.find((ticks) => ticks.length * LOGARITHMIC_TICK_PX <= lengthPx) ?? [];
}
