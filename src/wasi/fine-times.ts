import type { BigIntStats } from 'node:fs';
import type { FileTimes } from './filestat.ts';

/**
 * Node sets times of files to the microsecond. The digits that a guest set beyond it are remembered for the files set
 * last, for as long as the host still shows the time that was set.
 */
export class FineTimes {
  readonly #times = new Map<string, { host: FileTimes; exact: FileTimes }>();

  /** `status` is that of the file after `exact` was set. */
  remember(status: BigIntStats, exact: FileTimes): void {
    const key = `${status.dev}:${status.ino}`;
    this.#times.delete(key);
    if (status.atimeNs === exact.accessNs && status.mtimeNs === exact.modifyNs) return;
    this.#times.set(key, { host: { accessNs: status.atimeNs, modifyNs: status.mtimeNs }, exact });
    if (this.#times.size > FILE_COUNT_MAX) this.#times.delete(this.#times.keys().next().value ?? '');
  }

  of(status: BigIntStats): { atimeNs: bigint; mtimeNs: bigint } {
    const known = this.#times.size > 0 ? this.#times.get(`${status.dev}:${status.ino}`) : undefined;
    if (known === undefined) return { atimeNs: status.atimeNs, mtimeNs: status.mtimeNs };
    return {
      atimeNs: status.atimeNs === known.host.accessNs ? known.exact.accessNs : status.atimeNs,
      mtimeNs: status.mtimeNs === known.host.modifyNs ? known.exact.modifyNs : status.mtimeNs,
    };
  }
}

/** Files whose times are remembered. */
const FILE_COUNT_MAX = 64;
