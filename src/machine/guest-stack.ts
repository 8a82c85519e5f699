import { ContinuoError, GuestTrapError } from '../error/errors.ts';
import { ResumeFunctionName } from '../rewrite/resume-module.ts';
import { ExternalKind, type Module } from '../wasm/module.ts';
import { readNameSection } from '../wasm/name-section.ts';

/** V8's words for the end of the stack, which a guest reaches by recursion too deep. */
const STACK_OVERFLOW = 'Maximum call stack size exceeded';

/** Names of a program's functions: from its name section, else its exports and imports, else their number. */
export class FunctionNames {
  readonly #names = new Map<number, string>();

  constructor(module: Module) {
    let f = 0;
    for (const { kind, module: from, name } of module.imports) {
      if (kind === ExternalKind.function) this.#names.set(f++, `${from}.${name}`);
    }
    for (const { kind, index, name } of module.exports) {
      if (kind === ExternalKind.function && index >= f) this.#names.set(index, name);
    }
    for (const [index, name] of readNameSection(module).functions) this.#names.set(index, name);
  }

  nameOf(functionIndex: number): string {
    return this.#names.get(functionIndex) ?? `function ${functionIndex}`;
  }
}

/** The guest's functions on the stack of an error of V8, innermost first, by name. */
export function guestStackOf(error: Error, module: Module, names: FunctionNames): string[] {
  const stack: string[] = [];
  for (const line of (error.stack ?? '').split('\n')) {
    const place = /wasm-function\[(\d+)\]/.exec(line);
    if (place === null) continue;
    const resumed = line.indexOf(ResumeFunctionName);
    const index = resumed >= 0 ? parseInt(line.slice(resumed + ResumeFunctionName.length), 10) : Number(place[1]);
    if (index < module.functionTypes.length) stack.push(names.nameOf(index));
  }
  return stack;
}

/** A trap of the guest as an error that shows its stack, or as the failure that it had to trap for; anything else as it is. */
export function trapOf(error: unknown, failure: Error | undefined, module: Module): unknown {
  if (error instanceof ContinuoError || !(error instanceof Error)) return error;
  if (failure !== undefined) return failure;
  const overflow = error instanceof RangeError && error.message === STACK_OVERFLOW;
  if (!(error instanceof WebAssembly.RuntimeError) && !overflow) return error;
  const stack = guestStackOf(error, module, new FunctionNames(module));
  return new GuestTrapError(overflow ? 'call stack exhausted' : error.message, stack, error);
}
