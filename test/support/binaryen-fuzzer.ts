import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';

const features = [
  'sign-ext', 'mutable-globals', 'nontrapping-float-to-int', 'bulk-memory', 'bulk-memory-opt', 'tail-call',
  'reference-types', 'multivalue',
]; // prettier-ignore

interface Choices {
  readonly vectors: boolean;
  /** In both forms. */
  readonly exceptions?: boolean;
}

type Tool = (
  module: object,
  exports: object,
  require: NodeJS.Require,
  directory: string,
  file: string,
  process: object,
  webAssembly: object,
) => void;

/**
 * Binaryen's generator of random valid modules (`wasm-opt --translate-to-fuzz`), with the features that Continuo takes and
 * with NaNs made zero, since which NaN arithmetic gives is up to the engine.
 *
 * The tool is a script around 10 MB of Wasm that a process runs once. Here it is run many times in this process, its
 * module compiled once: a module costs 40 ms instead of 400.
 */
export class BinaryenFuzzer {
  readonly #path: string;
  readonly #require: NodeJS.Require;
  readonly #tool: Tool;
  readonly #scratch = mkdtempSync(join(tmpdir(), 'continuo-fuzz-'));
  #compiled: WebAssembly.Module | undefined;

  constructor() {
    this.#path = join(dirname(createRequire(import.meta.url).resolve('binaryen')), 'bin', 'wasm-opt');
    this.#require = createRequire(this.#path);
    const source = readFileSync(this.#path, 'utf8').replace(/^#!/, '//');
    const names = ['module', 'exports', 'require', '__dirname', '__filename', 'process', 'WebAssembly'];
    // The script is written to be a module of Node's; this is how Node itself wraps one.
    // oxlint-disable-next-line no-new-func, typescript/no-implied-eval
    this.#tool = new Function(...names, source) as Tool;
  }

  /** The module that the bytes stand for. Vectors in signatures end many calls at the host, so they are a choice. */
  async generate(input: Uint8Array, { vectors, exceptions = false }: Choices): Promise<Uint8Array<ArrayBuffer>> {
    const from = join(this.#scratch, 'input');
    const to = join(this.#scratch, 'output.wasm');
    writeFileSync(from, input);
    const enabled = [...features, ...(vectors ? ['simd'] : []), ...(exceptions ? ['exception-handling'] : [])].map(
      (feature) => `--enable-${feature}`,
    );
    await this.#run(['--translate-to-fuzz', '--mvp-features', ...enabled, '--denan', '-q', from, '-o', to]);
    return new Uint8Array(readFileSync(to));
  }

  close(): void {
    rmSync(this.#scratch, { recursive: true, force: true });
  }

  #run(args: readonly string[]): Promise<void> {
    const webAssembly = {
      ...Object.fromEntries(
        Object.getOwnPropertyNames(WebAssembly).map((name) => [name, WebAssembly[name as keyof typeof WebAssembly]]),
      ),
      instantiate: async (bytes: BufferSource, imports: WebAssembly.Imports) => {
        this.#compiled ??= await WebAssembly.compile(bytes);
        const module = this.#compiled;
        return { module, instance: await WebAssembly.instantiate(module, imports) };
      },
    };
    return new Promise((resolve, reject) => {
      const exports: { postRun?: () => void; onAbort?: (reason: unknown) => void } = {};
      const module = { exports };
      const standIn = Object.create(process, {
        argv: { value: [process.execPath, this.#path, ...args] },
        exitCode: { value: 0, writable: true },
        on: { value: () => standIn },
      }) as object;
      this.#tool(module, exports, this.#require, dirname(this.#path), this.#path, standIn, webAssembly);
      module.exports.postRun = () => resolve();
      module.exports.onAbort = (reason) => reject(new Error(`wasm-opt gave up: ${String(reason)}`));
    });
  }
}
