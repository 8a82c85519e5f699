/**
 * Calls exported functions with the bits of their arguments and gives the bits of their results: JavaScript has no
 * vectors and may change the payload of a NaN. For each signature a small module is made that imports the function, loads
 * the arguments from a memory of its own and stores the results there; references pass through as they are.
 */

/** @typedef {'i32' | 'i64' | 'f32' | 'f64' | 'v128' | 'funcref' | 'externref'} ValueType */

const typeByte = { i32: 0x7f, i64: 0x7e, f32: 0x7d, f64: 0x7c, v128: 0x7b, funcref: 0x70, externref: 0x6f };
/** Load and store of each type, with an alignment of one byte. */
const load = { i32: [0x28, 0], i64: [0x29, 0], f32: [0x2a, 0], f64: [0x2b, 0], v128: [0xfd, 0x00, 0] };
const store = { i32: [0x36, 0], i64: [0x37, 0], f32: [0x38, 0], f64: [0x39, 0], v128: [0xfd, 0x0b, 0] };
export const CELL_BYTES = 16;
const isReference = (type) => type === 'funcref' || type === 'externref';

function leb(value) {
  const bytes = [];
  do {
    bytes.push((value & 0x7f) | (value > 0x7f ? 0x80 : 0));
    value >>>= 7;
  } while (value > 0);
  return bytes;
}
const vector = (items) => [...leb(items.length), ...items.flat()];
const section = (id, items) => {
  const contents = vector(items);
  return [id, ...leb(contents.length), ...contents];
};
const functionType = (params, results) => [
  0x60,
  ...vector(params.map((type) => typeByte[type])),
  ...vector(results.map((type) => typeByte[type])),
];

/** @param {ValueType[]} params @param {ValueType[]} results */
function callerModule(params, results) {
  const scratch = params.filter(isReference).length;
  const code = [];
  let reference = 0;
  params.forEach((type, k) => {
    if (isReference(type)) code.push(0x20, ...leb(reference++));
    else code.push(0x41, 0, ...load[type], ...leb(k * CELL_BYTES));
  });
  code.push(0x10, 0);
  for (let k = results.length - 1; k >= 0; k--) code.push(0x21, ...leb(scratch + k));
  results.forEach((type, k) => {
    if (!isReference(type)) code.push(0x41, 0, 0x20, ...leb(scratch + k), ...store[type], ...leb(k * CELL_BYTES));
  });
  results.forEach((type, k) => {
    if (isReference(type)) code.push(0x20, ...leb(scratch + k));
  });
  code.push(0x0b);
  const body = [...vector(results.map((type) => [1, typeByte[type]])), ...code];
  return new WebAssembly.Module(
    Uint8Array.from([
      0, 0x61, 0x73, 0x6d, 1, 0, 0, 0,
      ...section(1, [functionType(params, results), functionType(params.filter(isReference), results.filter(isReference))]),
      ...section(2, [[0, 0, 0, 0], [0, 1, 0x6d, 2, 0, 1]]),
      ...section(3, [[1]]),
      ...section(7, [[0, 0, 1]]),
      ...section(10, [[...leb(body.length), ...body]]),
    ]),
  ); // prettier-ignore
}

/** @type {Map<string, WebAssembly.Module>} */
const modules = new Map();
const memory = new WebAssembly.Memory({ initial: 1 });
export const cells = new DataView(memory.buffer);

/**
 * A function of the reference arguments that calls `target` with the other arguments from `cells`, results likewise.
 * @throws WebAssembly.LinkError when the target has another signature.
 */
export function bitCaller(target, params, results) {
  const key = `${params.join()} ${results.join()}`;
  let module = modules.get(key);
  if (module === undefined) modules.set(key, (module = callerModule(params, results)));
  return new WebAssembly.Instance(module, { '': { '': target, m: memory } }).exports[''];
}

/** Calls a global's getter likewise: a module that returns its value. */
export function globalReader(global, type, mutable) {
  const module = new WebAssembly.Module(
    Uint8Array.from([
      0, 0x61, 0x73, 0x6d, 1, 0, 0, 0,
      ...section(1, [functionType([], [type])]),
      ...section(2, [[0, 0, 3, typeByte[type], mutable ? 1 : 0]]),
      ...section(3, [[0]]),
      ...section(7, [[0, 0, 0]]),
      ...section(10, [[...leb(4), 0, 0x23, 0, 0x0b]]),
    ]),
  ); // prettier-ignore
  return new WebAssembly.Instance(module, { '': { '': global } }).exports[''];
}
