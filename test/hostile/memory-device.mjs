/** A job directory in memory for the fuzzer. Names are the given ones and those that a job makes; any other is a breach. */
import { StorageError } from '../../dist/error/errors.js';

const OWN_NAME = /^(job|job\.new|seal|paging|program\.wasm|checkpoint-\d{10}|undo-\d|output-held-\d|output-released)$/;
/** More than any file of the fuzzer's jobs may become. */
const SIZE_MAX = 64 * 2 ** 20;

export class MemoryDevice {
  path = '/hostile';
  files;

  constructor(files) {
    this.files = new Map(files);
  }

  list() {
    return [...this.files.keys()].toSorted((a, b) => (a < b ? -1 : 1));
  }

  openFile(name, mode) {
    this.#check(name);
    if (mode === 'create') this.files.set(name, new Uint8Array(0));
    else if (!this.files.has(name)) throw new StorageError(`cannot open ${name}: there is no such file`);
    const { files } = this;
    let isShared = mode !== 'create';
    const resize = (sizeBytes) => {
      if (sizeBytes > SIZE_MAX) throw new Error(`${name} would become ${sizeBytes} bytes long`);
      const bytes = new Uint8Array(sizeBytes);
      bytes.set(files.get(name).subarray(0, sizeBytes));
      files.set(name, bytes);
      isShared = false;
    };
    return {
      path: `${this.path}/${name}`,
      readInto: (view, at) => {
        const source = files.get(name).subarray(at, at + view.length);
        view.set(source);
        return source.length;
      },
      write: (view, at) => {
        const { length } = files.get(name);
        if (isShared || at + view.length > length) resize(Math.max(length, at + view.length));
        files.get(name).set(view, at);
      },
      sync: () => {},
      sizeBytes: () => files.get(name).length,
      truncate: resize,
      close: () => {},
    };
  }

  rename(from, to) {
    this.#check(from);
    this.#check(to);
    this.files.set(to, this.files.get(from));
    this.files.delete(from);
  }

  remove(name) {
    this.#check(name);
    this.files.delete(name);
  }

  syncDirectory() {}

  #check(name) {
    if (!OWN_NAME.test(name)) throw new Error(`a file of the name ${JSON.stringify(name)} was asked for`);
  }
}
