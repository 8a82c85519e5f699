/**
 * The results of the workloads computed in plain JavaScript, from their definitions and by other algorithms where there
 * are any, for small sizes.
 */

const MASK = 0xffff_ffff_ffff_ffffn;
const GOLDEN = 0x9e37_79b9_7f4a_7c15n;
const EMPTY_DIGEST = 0x9ae1_6a3b_2f90_404fn;

function mix(value: bigint): bigint {
  let z = value;
  z = ((z ^ (z >> 30n)) * 0xbf58_476d_1ce4_e5b9n) & MASK;
  z = ((z ^ (z >> 27n)) * 0x94d0_49bb_1331_11ebn) & MASK;
  return z ^ (z >> 31n);
}

function* splitMix64(seed: number): Generator<bigint, never> {
  for (let state = BigInt(seed); ;) {
    state = (state + GOLDEN) & MASK;
    yield mix(state);
  }
}

function addToDigest(digest: bigint, word: bigint): bigint {
  return (mix(digest ^ word) + GOLDEN) & MASK;
}

function digestOf(words: BigUint64Array): bigint {
  return words.reduce(addToDigest, EMPTY_DIGEST);
}

function digestOfDoubles(values: Float64Array): bigint {
  return digestOf(new BigUint64Array(values.buffer, values.byteOffset, values.length));
}

function weightsOf(size: number, seed: number): Float64Array {
  const numbers = splitMix64(seed);
  return Float64Array.from({ length: size * size }, (_, at) =>
    Math.floor(at / size) === at % size ? 0 : Number(numbers.next().value >> 44n) + 1,
  );
}

/** Distances by relaxing every edge until nothing changes (Bellman and Ford): neither Dijkstra nor Floyd. */
function distancesOf(size: number, seed: number): Float64Array {
  const weights = weightsOf(size, seed);
  const distances = weights.slice();
  for (let changed = true; changed;) {
    changed = false;
    for (let from = 0; from < size; from++) {
      for (let to = 0; to < size; to++) {
        for (let last = 0; last < size; last++) {
          const through = distances[from * size + last] + weights[last * size + to];
          if (through < distances[from * size + to]) {
            distances[from * size + to] = through;
            changed = true;
          }
        }
      }
    }
  }
  return distances;
}

function shortestPaths(size: number, seed: number): bigint {
  return digestOfDoubles(distancesOf(size, seed));
}

/** The digests that `apsp --print-rows` shows, in order. */
export function rowDigests(size: number, seed: number): bigint[] {
  const distances = distancesOf(size, seed);
  return Array.from({ length: size }, (_, row) => digestOfDoubles(distances.slice(row * size, (row + 1) * size)));
}

function matmul(size: number, seed: number): bigint {
  const numbers = splitMix64(seed);
  const a = Float64Array.from({ length: size * size }, () => Number(numbers.next().value >> 54n) - 512);
  return digestOfDoubles(
    Float64Array.from({ length: size * size }, (_, at) => {
      const row = Math.floor(at / size);
      // A sum that starts from +0 is never −0, whatever the order: the digest takes bits.
      return Array.from({ length: size }, (_, k) => a[row * size + k] * a[k * size + (at % size)]).reduce(
        (sum, product) => sum + product,
        0,
      );
    }),
  );
}

/** The digest of `matmul --int32`: two entries in a word, and a zero where their number is odd. */
export function integerProductDigest(size: number, seed: number): bigint {
  const numbers = splitMix64(seed);
  const a = Int32Array.from({ length: size * size }, () => Number(numbers.next().value >> 54n) - 512);
  const product = new Int32Array(size * size + (size % 2));
  for (let at = 0; at < size * size; at++) {
    const row = Math.floor(at / size);
    for (let k = 0; k < size; k++) product[at] += Math.imul(a[row * size + k], a[k * size + (at % size)]);
  }
  return digestOf(new BigUint64Array(product.buffer));
}

function fib(size: number, seed: number): bigint {
  let [number, next] = [0n, 1n];
  for (let n = 0; n < size; n++) [number, next] = [next, number + next];
  const numbers = splitMix64(seed);
  const held = Array.from({ length: size * 96 }, () => numbers.next().value);
  return held.reduceRight(addToDigest, addToDigest(EMPTY_DIGEST, number));
}

function sort(size: number, seed: number): bigint {
  const numbers = splitMix64(seed);
  return digestOf(BigUint64Array.from({ length: size }, () => numbers.next().value).sort());
}

export const referenceDigests: Readonly<Record<string, (size: number, seed: number) => bigint>> = {
  apsp: shortestPaths,
  'floyd-warshall': shortestPaths,
  matmul,
  fib,
  sort,
};
