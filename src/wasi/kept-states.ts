/** Which captured states are kept, by their generations: a restart may go on from any of them. */
export class KeptStates {
  readonly #keep: number;
  /** Oldest first. */
  readonly #generations: number[];

  /** `earlier`: those of the checkpoints that the job keeps when it is opened, oldest first. */
  constructor(keep: number, earlier: readonly number[]) {
    this.#keep = keep;
    this.#generations = [...earlier];
  }

  /** The oldest that is kept; `generation` where there is none yet. */
  oldest(generation: number): number {
    return this.#generations[0] ?? generation;
  }

  /** A state is durable; returns the oldest that is kept now. */
  committed(generation: number): number {
    this.#generations.push(generation);
    if (this.#generations.length > this.#keep) this.#generations.splice(0, this.#generations.length - this.#keep);
    return this.#generations[0];
  }
}
