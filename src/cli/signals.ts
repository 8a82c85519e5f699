import type { Machine } from '../machine/machine.ts';

export type StopSignal = 'SIGINT' | 'SIGTERM';

/** Exit codes of a process that a signal ended, as shells report them. */
export const SIGNAL_EXIT_CODES: Readonly<Record<StopSignal, number>> = { SIGINT: 130, SIGTERM: 143 };

/**
 * Turns signals into requests to a machine, until the process ends: SIGINT and SIGTERM stop it, SIGUSR1 asks for a
 * checkpoint. A second SIGINT ends the process at once: whoever presses the keys twice does not want to wait, and the
 * last checkpoint stands. Signals that come when the machine has ended change nothing, its exit code least of all.
 */
export class SignalWatch {
  /** The first signal that asked the machine to stop. */
  stoppedBy: StopSignal | undefined;
  #interruptCount = 0;

  constructor(machine: Machine) {
    const stop = (signal: StopSignal): void => {
      this.stoppedBy ??= signal;
      machine.stop();
    };
    process.on('SIGTERM', () => stop('SIGTERM'));
    process.on('SIGINT', () => {
      if (++this.#interruptCount > 1) process.exit(SIGNAL_EXIT_CODES.SIGINT);
      stop('SIGINT');
    });
    // Windows has no such signal.
    if (process.platform !== 'win32') process.on('SIGUSR1', () => machine.checkpoint());
  }
}
