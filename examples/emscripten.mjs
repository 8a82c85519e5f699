// A program of Emscripten's, run by its own JavaScript loader through `instantiate`: HiGHS, a solver in C++, is captured in the
// middle of the one call that solves a problem, and goes on from there in another process.
//
//   node examples/emscripten.mjs solve                undisturbed
//   node examples/emscripten.mjs save FILE [LOOKS]    stops when the solver has looked at its clock so often; its state goes
//                                                     into the file
//   node examples/emscripten.mjs restore FILE         goes on from the file
//
// The file has what this page keeps beside the instance, too: the address of the solver.
import { readFileSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname } from 'node:path';
import { deserialize, serialize } from 'node:v8';
import { compileFunction } from 'node:vm';
import { Interrupted, guestViews, instantiate } from 'continuo';

const [command, file, looks = '800'] = process.argv.slice(2);
if (!['solve', 'save', 'restore'].includes(command) || (command === 'solve') !== (file === undefined)) {
  console.error('usage: emscripten.mjs solve | save FILE [LOOKS] | restore FILE');
  process.exit(2);
}

const require = createRequire(import.meta.url);
const loaderFile = require.resolve('highs');
const program = readFileSync(require.resolve('highs/runtime'));
const saved = command === 'restore' ? deserialize(readFileSync(file)) : undefined;
/** Thrown by onCapture to give the call up, once its state is saved. */
const stopped = new Error('stopped');

let solver = saved?.solver;
let statusAfterRestore;
let looksLeft = command === 'save' ? Number(looks) : Infinity;

const highs = await loader()({ instantiateWasm: (imports, receive) => void start(imports, receive) });
if (saved === undefined) {
  solver = highs._Highs_create();
  const call = (name, ...args) => highs.cwrap(name, 'number', args.map(kindOf))(...args);
  call('Highs_setBoolOptionValue', solver, 'output_flag', 0);
  call('Highs_passMip', solver, ...problem());
}
try {
  const status = statusAfterRestore ?? highs._Highs_run(solver);
  console.log(`status ${status}, objective ${highs._Highs_getObjectiveValue(solver)}`);
} catch (error) {
  if (error !== stopped) throw error;
  console.log('stopped in the middle of the call');
}

/** The loader, made from its source with the constructors that make views of an instance's memory. */
function loader() {
  const module = { exports: {} };
  const scope = { ...guestViews, module, exports: module.exports, require, __filename: loaderFile };
  scope.__dirname = dirname(loaderFile);
  compileFunction(readFileSync(loaderFile, 'utf8'), Object.keys(scope))(...Object.values(scope));
  return module.exports;
}

/** Takes the place of `WebAssembly.instantiate` in the loader. */
async function start(imports, receive) {
  // The loader's names are short ones that change with each version of it; its functions have kept theirs.
  const clock = Object.keys(imports.a).find((name) => imports.a[name].name === '_clock_time_get');
  // Only the clock may be asked again when the call goes on: what writes must not write twice. It shows the time of day,
  // so that it goes on in the other process, too.
  const lookAtClock = (_id, _precision, address) => {
    if (solver !== undefined && instance.canCapture && --looksLeft === 0) return Interrupted;
    const nowMs = performance.timeOrigin + performance.now();
    new guestViews.DataView(instance.memory.buffer).setBigInt64(address, BigInt(Math.round(nowMs * 1e6)), true);
    return 0;
  };
  const given = { a: { ...imports.a, [clock]: lookAtClock } };
  const { instance } = await instantiate(program, given, {
    interruptible: [`a.${clock}`],
    restore: saved?.state,
    onCapture(captured) {
      writeFileSync(file, serialize({ state: captured.save(), solver }));
      throw stopped;
    },
  });
  if (saved === undefined) {
    receive(instance);
    return;
  }
  // The loader calls the constructors of C++ when it is ready; those of a restored instance have been called.
  const constructors = /initRuntime\(\)\{[^}]*?wasmExports\["(\w+)"\]\(\)/.exec(readFileSync(loaderFile, 'utf8'))[1];
  receive({ exports: { ...instance.exports, [constructors]: () => undefined } });
  statusAfterRestore = instance.resume();
}

function kindOf(value) {
  return typeof value === 'object' ? 'array' : typeof value;
}

/** Arguments of `Highs_passMip`: which of `count` things to pack, each with a worth and three sizes, drawn from a fixed row. */
function problem(count = 60) {
  let state = 1;
  const draw = (below) => (state = (state * 16807) % 2147483647) % below;
  const bytes = (array) => new Uint8Array(array.buffer);
  const doubles = (length, value) => bytes(Float64Array.from({ length }, value));
  const integers = (length, value) => bytes(Int32Array.from({ length }, value));
  const [sizes, rowwise, maximise, offset] = [3, 2, -1, 0];
  return [
    count,
    sizes,
    count * sizes,
    rowwise,
    maximise,
    offset,
    doubles(count, () => 20 + draw(60)),
    doubles(count, () => 0),
    doubles(count, () => 1),
    doubles(sizes, () => 0),
    doubles(sizes, () => count * 18),
    integers(sizes, (_, row) => row * count),
    integers(count * sizes, (_, i) => i % count),
    doubles(count * sizes, () => 10 + draw(90)),
    integers(count, () => 1),
  ];
}
