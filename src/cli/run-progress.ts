import { SingleBar } from 'cli-progress';

/** How far a program has come that says so, as a bar on a terminal; nothing anywhere else. */
export class RunProgress {
  readonly #bar: SingleBar | undefined;
  #started = false;

  constructor(wanted: boolean) {
    if (!wanted || !process.stderr.isTTY) return;
    // Noticing what else is written to the terminal is left to the bar: it is redrawn below.
    this.#bar = new SingleBar({
      format: '{bar} {percentage} % | {value} of {total} | {eta_formatted} left',
      stream: process.stderr,
      clearOnComplete: true,
      hideCursor: true,
      etaBuffer: 50,
    });
  }

  show(done: number, total: number): void {
    const bar = this.#bar;
    if (bar === undefined || !(total > 0)) return;
    if (!this.#started) {
      this.#started = true;
      bar.start(total, done);
      return;
    }
    bar.setTotal(total);
    bar.update(done);
  }

  close(): void {
    if (this.#started) this.#bar?.stop();
    this.#started = false;
  }
}
