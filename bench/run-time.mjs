// Run time of rewritten programs against the plain ones on the same V8, optimised tier, no checkpoint taken.
// All variants of a kernel live in one process and take turns; a figure is the median of the turns' ratios.
//   node bench/run-time.mjs [--rounds N] [--json FILE] [kernel …]
import { enableBranchHints } from '../dist/machine/compilation.js';
import { kernelBytes, kernelNames, plainRunner, rewrittenRunner, takeTurns } from './kernel-runs.mjs';
import { geometricMean, machineFacts, median, parseArguments, writeResult } from './measure.mjs';

const VARIANTS = {
  safepoints: { tracking: 'none', counting: false },
  'safepoints and tracking': { tracking: 'software', counting: false },
  'safepoints and page checks': { tracking: 'paged', counting: false },
};

const { options, rest } = parseArguments({ rounds: '9', json: '' });
const names = rest.length > 0 ? rest : kernelNames();

// As the guest's thread does.
enableBranchHints();

const kernels = [];
for (const name of names) kernels.push(measure(name));
const summary = {};
for (const variant of Object.keys(VARIANTS)) {
  const ratios = kernels.map((kernel) => kernel.ratios[variant]);
  summary[variant] = { geometricMean: geometricMean(ratios), worst: Math.max(...ratios) };
  console.log(
    `geometric mean, ${variant}: ${summary[variant].geometricMean.toFixed(3)}, worst ${summary[variant].worst.toFixed(2)}`,
  );
}
if (options.json) writeResult(options.json, { ...machineFacts(), rounds: Number(options.rounds), kernels, summary });

function measure(name) {
  const bytes = kernelBytes(name);
  const runners = { plain: plainRunner(bytes) };
  let codeGrowth = 0;
  for (const [variant, rewriteOptions] of Object.entries(VARIANTS)) {
    const { run, growth } = rewrittenRunner(bytes, rewriteOptions);
    runners[variant] = run;
    if (variant === 'safepoints and tracking') codeGrowth = growth;
  }
  const turns = takeTurns(name, runners, Number(options.rounds));
  const ratios = {};
  for (const variant of Object.keys(VARIANTS)) {
    ratios[variant] = median(turns[variant].map((ms, k) => ms / turns.plain[k]));
  }
  const plainMs = median(turns.plain);
  console.log(
    name.padEnd(14),
    `${plainMs.toFixed(2)} ms`.padStart(11),
    ...Object.values(ratios).map((r) => r.toFixed(3).padStart(7)),
    ` code ${codeGrowth.toFixed(2)}`,
  );
  return { name, plainMs, ratios, codeGrowth };
}
