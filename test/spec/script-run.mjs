/**
 * Runs the commands of one script of the core test suite, as `wast2json` writes them, on one engine, and notes what each
 * command showed: so that two engines can be held against each other, and both against what the suite expects.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { CELL_BYTES, bitCaller, cells, globalReader } from './bit-call.mjs';

/**
 * @typedef {object} Engine
 * @property {string} name
 * @property {(bytes: Uint8Array) => unknown} compile
 * @property {(module: unknown, imports: Record<string, Record<string, unknown>>) => { exports: Record<string, unknown> }} instantiate
 * @property {(descriptor: { initial: number, maximum: number }) => unknown} makeMemory
 */

/**
 * What a command showed: `shown` compares between engines, `failure` tells what the suite expected instead, `skipped` why
 * the command was not run.
 * @typedef {object} Outcome
 * @property {number} line
 * @property {string} type
 * @property {string} shown
 * @property {string} [failure]
 * @property {string} [skipped]
 */

const floatBytes = { f32: 4, f64: 8 };

export class ScriptRun {
  #folder;
  #engine;
  #current;
  #named = new Map();
  #registered;
  /** Why the last module could not be compiled, if so. */
  #refusal;
  /** One object per number that the suite calls an externref by. */
  #hostObjects = new Map();
  #callers = new WeakMap();

  /** @param {string} folder @param {Engine} engine */
  constructor(folder, engine) {
    this.#folder = folder;
    this.#engine = engine;
    this.#registered = { spectest: this.#spectest() };
  }

  /** @param {{ type: string, line: number }[]} commands @returns {Outcome[]} */
  run(commands) {
    return commands.map((command) => {
      const { type, line } = command;
      if (this.#refusal !== undefined && this.#actsOnCurrent(command)) {
        return { line, type, shown: '', skipped: this.#refusal };
      }
      try {
        return { line, type, ...this.#command(command) };
      } catch (error) {
        return { line, type, shown: describeError(error), failure: `threw ${describeError(error)}` };
      }
    });
  }

  #spectest() {
    const print = () => undefined;
    const functions = ['print', 'print_i32', 'print_i64', 'print_f32', 'print_f64', 'print_i32_f32', 'print_f64_f64'];
    const global = (value, initial) => new WebAssembly.Global({ value, mutable: false }, initial);
    return {
      ...Object.fromEntries(functions.map((name) => [name, print])),
      global_i32: global('i32', 666),
      global_i64: global('i64', 666n),
      global_f32: global('f32', 666.6),
      global_f64: global('f64', 666.6),
      table: new WebAssembly.Table({ element: 'anyfunc', initial: 10, maximum: 20 }),
      memory: this.#engine.makeMemory({ initial: 1, maximum: 2 }),
    };
  }

  #actsOnCurrent({ type, action, name }) {
    return type === 'register' ? name === undefined : action !== undefined && action.module === undefined;
  }

  #command(command) {
    switch (command.type) {
      case 'module': {
        this.#current = undefined;
        this.#refusal = undefined;
        let module;
        try {
          module = this.#engine.compile(this.#bytes(command));
        } catch (error) {
          if (!(error instanceof WebAssembly.CompileError)) throw error;
          this.#refusal = 'this V8 does not take the module';
          return { shown: '', skipped: this.#refusal };
        }
        this.#current = this.#engine.instantiate(module, this.#registered);
        if (command.name !== undefined) this.#named.set(command.name, this.#current);
        return { shown: 'instantiated' };
      }
      case 'register':
        this.#registered = { ...this.#registered, [command.as]: this.#instance(command.name).exports };
        return { shown: 'registered' };
      case 'action':
      case 'assert_return':
        return this.#assertReturn(command);
      case 'assert_trap':
      case 'assert_exhaustion':
        return this.#assertThrows(
          () => this.#act(command),
          command.type === 'assert_trap' ? [WebAssembly.RuntimeError] : [RangeError],
        );
      case 'assert_exception':
        return this.#assertThrows(() => this.#act(command), [WebAssembly.Exception], classOf);
      case 'assert_invalid':
      case 'assert_malformed':
        if (command.module_type === 'text') {
          return { shown: '', skipped: 'text format: no engine reads it, wast2json itself checks it' };
        }
        return this.#assertThrows(() => this.#engine.compile(this.#bytes(command)), [WebAssembly.CompileError]);
      case 'assert_unlinkable':
        return this.#assertThrows(() => this.#instantiate(command), [WebAssembly.LinkError, TypeError], classOf);
      case 'assert_uninstantiable':
        return this.#assertThrows(() => this.#instantiate(command), [WebAssembly.RuntimeError]);
      default:
        return { shown: '', skipped: `a command of unknown type ${command.type}` };
    }
  }

  #bytes({ filename }) {
    return readFileSync(join(this.#folder, filename));
  }

  #instantiate(command) {
    return this.#engine.instantiate(this.#engine.compile(this.#bytes(command)), this.#registered);
  }

  #instance(name) {
    const instance = name === undefined ? this.#current : this.#named.get(name);
    if (instance === undefined) throw new Error(`there is no instance ${name ?? 'now'}`);
    return instance;
  }

  #assertThrows(run, classes, describe = describeError) {
    let results;
    try {
      results = run();
    } catch (error) {
      const shown = describe(error);
      return classes.some((type) => error instanceof type)
        ? { shown }
        : { shown, failure: `threw ${describeError(error)}` };
    }
    return { shown: 'nothing thrown', failure: `nothing thrown, returned ${JSON.stringify(results ?? null)}` };
  }

  #assertReturn(command) {
    // Relaxed instructions have one result of several.
    const allowed = command.either?.map((value) => [value]) ?? [command.expected];
    const results = this.#act({ action: command.action, expected: allowed[0] });
    const fits = (values) => values.every((value, k) => matches(value, results[k]));
    const expected = command.type === 'action' ? [] : (allowed.find(fits) ?? allowed[0]);
    const wrong = expected.findIndex((value, k) => !matches(value, results[k]));
    // The bits of a NaN that the specification leaves open are the engine's choice each time.
    const shown = expected.some(isNaNPattern) ? 'NaN as expected' : results.join(' ');
    if (wrong < 0) return { shown };
    return { shown, failure: `result ${wrong} is ${results[wrong]}, expected ${JSON.stringify(expected[wrong])}` };
  }

  /** Results as text: bits of numbers in hexadecimal, what references are. */
  #act({ action, expected }) {
    const instance = this.#instance(action.module);
    const item = instance.exports[action.field];
    const resultTypes = expected.map(({ type }) => type);
    if (action.type === 'get') return this.#call(globalReaderOf(item, resultTypes[0]), [], resultTypes);
    return this.#call(item, action.args, resultTypes);
  }

  #call(target, args, resultTypes) {
    if (typeof target !== 'function') throw new Error('the instance has no such function');
    const params = args.map(({ type }) => type);
    const caller = this.#callerOf(target, params, resultTypes);
    const references = [];
    args.forEach((arg, k) => {
      if (arg.type === 'funcref' || arg.type === 'externref') references.push(this.#reference(arg));
      else putBits(arg, k * CELL_BYTES);
    });
    const given = caller(...references);
    const returned = Array.isArray(given) ? given : [given];
    let reference = 0;
    return resultTypes.map((type, k) => {
      if (type === 'funcref' || type === 'externref') return this.#describeReference(type, returned[reference++]);
      return bitsText(type, k * CELL_BYTES);
    });
  }

  #callerOf(target, params, results) {
    let bySignature = this.#callers.get(target);
    if (bySignature === undefined) this.#callers.set(target, (bySignature = new Map()));
    const key = `${params.join()} ${results.join()}`;
    let caller = bySignature.get(key);
    if (caller === undefined) bySignature.set(key, (caller = bitCaller(target, params, results)));
    return caller;
  }

  #reference({ value }) {
    if (value === 'null') return null;
    if (!this.#hostObjects.has(value)) this.#hostObjects.set(value, { number: value });
    return this.#hostObjects.get(value);
  }

  #describeReference(type, value) {
    if (value === null) return 'null';
    return type === 'funcref' ? `function ${typeof value}` : `externref ${value?.number}`;
  }
}

function globalReaderOf(item, type) {
  if (!(item instanceof WebAssembly.Global)) throw new Error('the instance has no such global');
  try {
    return globalReader(item, type, false);
  } catch {
    return globalReader(item, type, true);
  }
}

/** Of several imports that do not fit, engines may name any. */
function classOf(error) {
  return error instanceof Error ? error.constructor.name : String(error);
}

export function describeError(error) {
  return error instanceof Error ? `${error.constructor.name}: ${error.message}` : String(error);
}

const laneBytes = { i8: 1, i16: 2, i32: 4, i64: 8, f32: 4, f64: 8 };

function putBits({ type, lane_type: laneType, value }, at) {
  if (type !== 'v128') return putLane(type, value, at);
  value.forEach((lane, k) => putLane(laneType, lane, at + k * laneBytes[laneType]));
}

function putLane(type, text, at) {
  const bits = BigInt(text);
  switch (laneBytes[type]) {
    case 1:
      return cells.setUint8(at, Number(BigInt.asUintN(8, bits)));
    case 2:
      return cells.setUint16(at, Number(BigInt.asUintN(16, bits)), true);
    case 4:
      return cells.setUint32(at, Number(BigInt.asUintN(32, bits)), true);
    default:
      return cells.setBigUint64(at, BigInt.asUintN(64, bits), true);
  }
}

function bitsText(type, at) {
  const bytes = type === 'v128' ? 16 : laneBytes[type];
  let text = '';
  for (let k = 0; k < bytes; k++)
    text =
      cells
        .getUint8(at + k)
        .toString(16)
        .padStart(2, '0') + text;
  return text;
}

const isPattern = (value) => typeof value === 'string' && value.startsWith('nan:');

function isNaNPattern({ value }) {
  return Array.isArray(value) ? value.some(isPattern) : isPattern(value);
}

function matches({ type, lane_type: laneType, value }, found) {
  if (type === 'externref') return found === (value === 'null' ? 'null' : `externref ${value}`);
  if (type === 'funcref') return value === 'null' ? found === 'null' : found !== 'null';
  if (type !== 'v128') return matchesLane(type, value, found);
  const digits = laneBytes[laneType] * 2;
  return value.every((lane, k) => {
    const end = found.length - k * digits;
    return matchesLane(laneType, lane, found.slice(end - digits, end));
  });
}

function matchesLane(type, value, found) {
  const bits = BigInt(`0x${found}`);
  const width = laneBytes[type] * 8;
  if (!isPattern(value)) return bits === BigInt.asUintN(width, BigInt(value));
  // Exponent all ones and the highest bit of the fraction set; a canonical NaN has no other.
  const fractionBits = floatBytes[type] === 4 ? 23n : 52n;
  const magnitude = BigInt.asUintN(width - 1, bits);
  const canonical = (((1n << BigInt(width)) - 1n) >> 1n) & ~((1n << (fractionBits - 1n)) - 1n);
  return value === 'nan:canonical' ? magnitude === canonical : (magnitude & canonical) === canonical;
}
