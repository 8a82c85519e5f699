import { SingleBar } from 'cli-progress';
import { PAGE_BYTES } from '../memory/layout.ts';

const MEGABYTE = 2 ** 20;
/** Redrawing more often costs time and shows nothing. */
const REDRAW_MS = 100;

/** How far the copying of pages has come, as a bar on a terminal, with rate and time left; nothing anywhere else. */
export class TransferProgress {
  readonly #bar: SingleBar | undefined;
  readonly #startMs = performance.now();
  #started = false;
  #drawnMs = -REDRAW_MS;

  constructor(wanted: boolean) {
    if (!wanted || !process.stderr.isTTY) return;
    this.#bar = new SingleBar({
      format: '{bar} {percentage} % | {megabytes} of {totalMegabytes} MB | {rate} MB/s | {eta_formatted} left',
      stream: process.stderr,
      clearOnComplete: true,
      hideCursor: true,
      etaBuffer: 50,
      // Pages are read and unpacked without a break, in which no timer of the bar's would come.
      synchronousUpdate: true,
      noTTYOutput: false,
    });
  }

  show(donePages: number, totalPages: number): void {
    const bar = this.#bar;
    if (bar === undefined || totalPages === 0) return;
    const nowMs = performance.now();
    if (nowMs - this.#drawnMs < REDRAW_MS && donePages < totalPages) return;
    this.#drawnMs = nowMs;
    const megabytes = (pages: number): string => ((pages * PAGE_BYTES) / MEGABYTE).toFixed(1);
    const seconds = Math.max(0.001, (nowMs - this.#startMs) / 1000);
    const payload = {
      megabytes: megabytes(donePages),
      totalMegabytes: megabytes(totalPages),
      rate: ((donePages * PAGE_BYTES) / MEGABYTE / seconds).toFixed(0),
    };
    if (!this.#started) {
      this.#started = true;
      bar.start(totalPages, donePages, payload);
    }
    bar.setTotal(totalPages);
    bar.update(donePages, payload);
  }

  close(): void {
    if (this.#started) this.#bar?.stop();
    this.#started = false;
  }
}
