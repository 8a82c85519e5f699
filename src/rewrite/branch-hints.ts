import { ByteWriter } from '../wasm/byte-writer.ts';
import { SectionId } from '../wasm/module.ts';

/**
 * The custom section that tells an engine which branches are hardly ever taken (branch hinting, phase 4): per function,
 * byte offsets from the start of its body. Engines that do not know it pass over it.
 */
export class BranchHints {
  readonly #functions = new ByteWriter(1024);
  #functionCount = 0;

  /** Notes the unlikely branches of a function, in ascending order; functions come in order of their index. */
  add(functionIndex: number, offsets: readonly number[]): void {
    if (offsets.length === 0) return;
    this.#functionCount++;
    this.#functions.u32(functionIndex).u32(offsets.length);
    for (const offset of offsets) this.#functions.u32(offset).pair(1, UNLIKELY);
  }

  encode(out: ByteWriter): void {
    if (this.#functionCount === 0) return;
    const section = new ByteWriter(this.#functions.length + 64);
    section.name('metadata.code.branch_hint').u32(this.#functionCount).raw(this.#functions.view());
    out.u8(SectionId.custom).u32(section.length).raw(section.view());
  }
}

const UNLIKELY = 0;
