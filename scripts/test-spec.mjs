/**
 * Runs the WebAssembly core test suite through plain V8, through rewritten modules, and through rewritten modules that
 * are captured and resumed at every k-th safepoint, and holds all against each other and against what the suite expects.
 *
 *   npm run test:spec -- FOLDER [--every 1,3,7] [--only NAME,NAME] [--canonical-nan]
 *
 * FOLDER holds what `wast2json` (Debian's package wabt) makes of the suite's scripts: a JSON file and modules for each.
 * The suite itself is at https://github.com/WebAssembly/testsuite; nothing of it is kept here. The exit code is 1 when
 * anything fails, 2 for wrong arguments.
 */
import { existsSync, readFileSync, readdirSync } from 'node:fs';
import { basename, join } from 'node:path';
import { parseArgs } from 'node:util';
import { CapturableModule, EmbeddedMemory, instantiateNow } from '../dist/index.js';
import { ScriptRun } from '../test/spec/script-run.mjs';

/** Captures of all instances of a mode, so that a run that captured nothing can be told. */
const captures = new Map();

const plain = {
  name: 'plain V8',
  compile: (bytes) => new WebAssembly.Module(bytes),
  instantiate: (module, imports) => new WebAssembly.Instance(module, imports),
  makeMemory: (descriptor) => new WebAssembly.Memory(descriptor),
};

/**
 * @param {number | undefined} every
 * @param {boolean} canonicalNan The suite allows canonical NaNs wherever arithmetic chooses the bits.
 */
function rewritten(every, canonicalNan) {
  const name = every === undefined ? 'rewritten' : `captured at every ${every}. safepoint`;
  const onCapture = () => void captures.set(name, captures.get(name) + 1);
  const options = every === undefined ? {} : { captureEverySafepoints: every, onCapture };
  captures.set(name, 0);
  return {
    name,
    compile: (bytes) => new CapturableModule(bytes, { counting: every !== undefined, canonicalNan }),
    instantiate: (module, imports) => instantiateNow(module, imports, options).instance,
    makeMemory: (descriptor) => new EmbeddedMemory(descriptor),
  };
}

function readArguments() {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      every: { type: 'string', default: '1,3,7' },
      only: { type: 'string' },
      'canonical-nan': { type: 'boolean', default: false },
    },
  });
  const [folder] = positionals;
  if (positionals.length !== 1 || !existsSync(folder)) {
    throw new TypeError('name the folder that holds the output of wast2json');
  }
  const every = values.every.split(',').map(Number);
  if (every.some((k) => !Number.isInteger(k) || k < 1))
    throw new TypeError(`--every ${values.every} is no list of numbers`);
  const only = values.only?.split(',');
  const files = readdirSync(folder)
    .filter((name) => name.endsWith('.json') && (only === undefined || only.includes(basename(name, '.json'))))
    .sort();
  if (files.length === 0) throw new TypeError(`${folder} holds no JSON file of wast2json`);
  return { folder, every, files, canonicalNan: values['canonical-nan'] };
}

/** Modules are as many as assertions in places: each mode runs through all files before the next begins. */
function runFile(folder, file, engine) {
  const { commands } = JSON.parse(readFileSync(join(folder, file), 'utf8'));
  return new ScriptRun(folder, engine).run(commands);
}

const isAssertion = ({ type }) => type.startsWith('assert_');

/** Failures of one file in a mode: against the suite, and against plain V8. */
function failuresOf(outcomes, reference) {
  return outcomes.flatMap((outcome, k) => {
    if (outcome.skipped !== undefined) {
      const isSkippedBefore = reference === undefined || reference[k].skipped !== undefined;
      return isSkippedBefore ? [] : [{ ...outcome, reason: `${outcome.skipped}, while plain V8 runs it` }];
    }
    if (outcome.failure !== undefined) return [{ ...outcome, reason: outcome.failure }];
    const expected = reference?.[k].shown;
    if (expected === undefined || expected === outcome.shown) return [];
    return [{ ...outcome, reason: `showed ${outcome.shown}, plain V8 ${expected}` }];
  });
}

function main() {
  const { folder, every, files, canonicalNan } = readArguments();
  const reference = new Map();
  let failed = false;
  for (const engine of [plain, ...[undefined, ...every].map((k) => rewritten(k, canonicalNan))]) {
    const total = { commands: 0, passed: 0, failed: 0, skipped: new Map() };
    console.log(`\n== ${engine.name}`);
    for (const file of files) {
      const outcomes = runFile(folder, file, engine);
      if (engine === plain) reference.set(file, outcomes);
      const failures = failuresOf(outcomes, reference.get(file));
      const skipped = outcomes.filter(
        ({ skipped, line }) => skipped !== undefined && !failures.some((f) => f.line === line),
      );
      for (const { skipped: reason } of skipped) total.skipped.set(reason, (total.skipped.get(reason) ?? 0) + 1);
      const failedAssertions = failures.filter(isAssertion).length;
      const assertions = outcomes.filter(isAssertion).length - skipped.filter(isAssertion).length;
      total.commands += outcomes.length - skipped.length - failures.length;
      total.passed += assertions - failedAssertions;
      total.failed += failures.length;
      console.log(
        `${basename(file, '.json').padEnd(34)} ${String(assertions - failedAssertions).padStart(6)} passed` +
          (failures.length > 0 ? `, ${failures.length} FAILED` : '') +
          (skipped.length > 0 ? `, ${skipped.length} skipped` : ''),
      );
      for (const { line, type, reason } of failures.slice(0, 10)) console.log(`    line ${line}, ${type}: ${reason}`);
    }
    failed ||= total.failed > 0;
    const captured = captures.get(engine.name);
    console.log(
      `${engine.name}: ${total.commands} commands passed, ${total.passed} of them assertions; ${total.failed} failed` +
        (captured ? `, ${captured} captures` : ''),
    );
    for (const [reason, count] of total.skipped) console.log(`  ${count} skipped: ${reason}`);
  }
  process.exitCode = failed ? 1 : 0;
}

try {
  main();
} catch (error) {
  if (!(error instanceof TypeError)) throw error;
  console.error(`test-spec: ${error.message}`);
  process.exitCode = 2;
}
