// The graph of the shortest-path workloads: complete, directed, with whole weights from 1 to 2²⁰ and no loops, as a
// dense row-major matrix of f64.

import { random, seedRandom } from './random';

export function fillWeights(weights: usize, n: usize, seed: u32): void {
  seedRandom(seed);
  for (let row: usize = 0; row < n; row++) {
    for (let column: usize = 0; column < n; column++) {
      const weight = row == column ? 0 : <f64>((random() >> 44) + 1);
      store<f64>(weights + ((row * n + column) << 3), weight);
    }
  }
}
