// What canonical NaNs cost: run time and code of the kernels rewritten with `canonicalNan` against those without, on the
// optimised tier. Both live in one process and take turns; a figure is the median of the turns' ratios.
//   node bench/canonical-nan.mjs [--rounds N] [--json FILE] [kernel …]
import { enableBranchHints } from '../dist/machine/compilation.js';
import { kernelBytes, rewrittenRunner, takeTurns } from './kernel-runs.mjs';
import { geometricMean, machineFacts, median, parseArguments, writeResult } from './measure.mjs';

/** The kernels that compute with floating-point numbers. */
const FLOAT_KERNELS = ['floyd-f64', 'mm-ijk', 'mm-ikj', 'as-mm', 'simd', 'conversions'];

const { options, rest } = parseArguments({ rounds: '9', json: '' });

// As the guest's thread does.
enableBranchHints();

const kernels = (rest.length > 0 ? rest : FLOAT_KERNELS).map(measure);
const ratios = kernels.map(({ ratio }) => ratio);
const summary = { geometricMean: geometricMean(ratios), worst: Math.max(...ratios) };
console.log(`geometric mean ${summary.geometricMean.toFixed(3)}, worst ${summary.worst.toFixed(2)}`);
if (options.json) writeResult(options.json, { ...machineFacts(), rounds: Number(options.rounds), kernels, summary });

function measure(name) {
  const bytes = kernelBytes(name);
  const without = rewrittenRunner(bytes, { tracking: 'software', counting: false });
  const canonical = rewrittenRunner(bytes, { tracking: 'software', counting: false, canonicalNan: true });
  const runners = { without: without.run, canonical: canonical.run };
  const turns = takeTurns(name, runners, Number(options.rounds));
  const ratio = median(turns.canonical.map((ms, k) => ms / turns.without[k]));
  const codeRatio = canonical.growth / without.growth;
  const withoutMs = median(turns.without);
  console.log(
    name.padEnd(14),
    `${withoutMs.toFixed(2)} ms`.padStart(11),
    ratio.toFixed(3),
    ` code ${codeRatio.toFixed(3)}`,
  );
  return { name, withoutMs, ratio, codeRatio };
}
