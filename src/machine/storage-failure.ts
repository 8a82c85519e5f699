import type { PolicyName } from '../checkpoint/checkpoint-store.ts';
import { StorageError } from '../error/errors.ts';
import type { GuestThreadData } from './protocol.ts';
import { isSavedToFiles } from './tracking-choice.ts';

/** What a run does when the storage of its job fails: it stops with the error, or goes on and takes no more checkpoints. */
export type OnStorageError = 'stop' | 'continue';

/** Whether a run may go on without checkpoints: not where the guest's memory is in the file whose storage would have failed. */
export function mayGiveUp({ paging, onStorageError }: GuestThreadData, policy: PolicyName | undefined): boolean {
  return onStorageError === 'continue' && (paging === undefined || isSavedToFiles(policy));
}

/** What people are told when it happens. */
export function givenUpNotice({ message }: StorageError): string {
  return `${message}; the program goes on without checkpoints, and its output leaves at once`;
}

/**
 * Whether a run has given its checkpoints up. Giving up is for good: what the system keeps after a failure is unknown, and the
 * last checkpoint, which stands, is all that a later run can go on from.
 */
export class StorageFailure {
  readonly #mayGoOn: () => boolean;
  readonly #onGiveUp: (error: StorageError) => void;
  #givenUp = false;

  /** `onGiveUp` is called once, before the run goes on. */
  constructor(mayGoOn: () => boolean, onGiveUp: (error: StorageError) => void) {
    this.#mayGoOn = mayGoOn;
    this.#onGiveUp = onGiveUp;
  }

  get givenUp(): boolean {
    return this.#givenUp;
  }

  /** Whether the run goes on after this error; if not, the error ends it. */
  goesOnAfter(error: unknown): boolean {
    if (!(error instanceof StorageError) || !this.#mayGoOn()) return false;
    if (this.#givenUp) return true;
    this.#givenUp = true;
    this.#onGiveUp(error);
    return true;
  }

  /** The result of work for a checkpoint; undefined when checkpoints were given up over it. */
  attempt<T>(work: () => T): T | undefined {
    try {
      return work();
    } catch (error) {
      if (!this.goesOnAfter(error)) throw error;
      return undefined;
    }
  }
}
