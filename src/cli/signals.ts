import type { Machine } from '../machine/machine.ts';

export type StopSignal = 'SIGINT' | 'SIGTERM';

/** Exit codes of a process that a signal ended, as shells report them. */
export const SIGNAL_EXIT_CODES: Readonly<Record<StopSignal, number>> = { SIGINT: 130, SIGTERM: 143 };

/**
 * Turns signals into requests to a machine: SIGINT and SIGTERM stop it, SIGUSR1 asks for a checkpoint. A second SIGINT
 * ends the process at once: whoever presses the keys twice does not want to wait, and the last checkpoint stands.
 */
export class SignalWatch {
  /** The first signal that asked the machine to stop. */
  stoppedBy: StopSignal | undefined;
  readonly #handlers: readonly (readonly [signal: NodeJS.Signals, handler: () => void])[];
  #interrupts = 0;

  constructor(machine: Machine) {
    const stop = (signal: StopSignal): void => {
      this.stoppedBy ??= signal;
      machine.stop();
    };
    const interrupt = (): void => {
      if (++this.#interrupts > 1) process.exit(SIGNAL_EXIT_CODES.SIGINT);
      stop('SIGINT');
    };
    this.#handlers = [
      ['SIGINT', interrupt],
      ['SIGTERM', () => stop('SIGTERM')],
      // Windows has no such signal.
      ...(process.platform === 'win32' ? [] : [['SIGUSR1', () => machine.checkpoint()] as const]),
    ];
    for (const [signal, handler] of this.#handlers) process.on(signal, handler);
  }

  release(): void {
    for (const [signal, handler] of this.#handlers) process.off(signal, handler);
  }
}
