/**
 * Writes the figures of README.md from the results of the benchmarks (`bench/results/*.json`), between the markers
 * `<!-- figures: NAME -->` and `<!-- end -->`. What has not been measured says so.
 *
 *   node scripts/readme-figures.mjs [--check]     (--check changes nothing, and fails when README.md is out of date)
 */
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));

const NOT_MEASURED = 'Not measured yet.';

const ratio = (value) => `${value.toFixed(2)} ×`;
const seconds = (ms) => `${(ms / 1000).toFixed(2)} s`;
const milliseconds = (ms) => `${ms.toFixed(ms < 1 ? 3 : 2)} ms`;
const megabytes = (bytes) => (bytes < 100_000 ? `${(bytes / 1000).toFixed(1)} kB` : `${(bytes / 1e6).toFixed(1)} MB`);
const median = (values) => values.toSorted((a, b) => a - b)[values.length >> 1];

/** A table as the formatter lays it out: cells as wide as their column, numbers to the right. */
function table(head, rows) {
  const isNumeric = head.map((_, column) => rows.every((row) => /^(\d[\d.]*( \S+)?|—)$/.test(row[column])));
  const widths = head.map((cell, column) => Math.max(3, cell.length, ...rows.map((row) => row[column].length)));
  const line = (cells) => {
    const padded = cells.map((cell, c) => (isNumeric[c] ? cell.padStart(widths[c]) : cell.padEnd(widths[c])));
    return `| ${padded.join(' | ')} |`;
  };
  const rule = widths.map((width, c) => (isNumeric[c] ? `${'-'.repeat(width - 1)}:` : '-'.repeat(width)));
  return [line(head), `| ${rule.join(' | ')} |`, ...rows.map(line)].join('\n');
}

/** Where and when a result was measured. */
function measuredOn({ date, node, platform, processor, cores, rounds }) {
  return `Measured ${date} with Node ${node} on ${platform}, ${cores} × ${processor}, medians of ${rounds} rounds.`;
}

/** Each of the figures from its result file, which the benchmark of the same name writes. */
const figures = {
  'run-time': (result) => {
    const { geometricMean, worst } = result.summary['safepoints and tracking'];
    const rows = result.kernels.map(({ name, plainMs, ratios, codeGrowth }) => [
      name,
      milliseconds(plainMs),
      ratio(ratios.safepoints),
      ratio(ratios['safepoints and tracking']),
      ratio(ratios['safepoints and page checks']),
      ratio(codeGrowth),
    ]);
    const checks = result.summary['safepoints and page checks'];
    const head = [
      'kernel',
      'plain',
      'with capture',
      'with capture and tracking',
      'with capture and page checks',
      'module',
    ];
    return [
      `Geometric mean ${ratio(geometricMean)}, worst ${ratio(worst)}, with capture and tracking; ` +
        `${ratio(checks.geometricMean)}, worst ${ratio(checks.worst)}, with the page checks of a run with \`--memory\` whose ` +
        'pages are all there.',
      table(head, rows),
      measuredOn(result),
    ];
  },
  'long-programs': (result) => {
    const rows = result.programs.map((program) => [
      `${program.name} ${program.arguments.join(' ')}`,
      seconds(program.plainMs),
      seconds(program.ms),
      ratio(program.ratio),
      String(median(program.rounds.map(({ checkpoints }) => checkpoints))),
      milliseconds(median(program.rounds.map(({ medianPauseMs }) => medianPauseMs))),
    ]);
    return [
      `Geometric mean ${ratio(result.geometricMean)}.`,
      table(['program', 'plain Node', 'Continuo', 'ratio', 'checkpoints', 'median pause'], rows),
      measuredOn(result),
    ];
  },
  pause: (result) => {
    const rows = result.points.map((point) => [
      String(point.dirtyPages),
      milliseconds(point.pauseMs),
      milliseconds(point.pauseWithoutSyncMs),
      milliseconds(point.copyMs),
      milliseconds(point.sequentialWriteMs),
      ratio(point.bytesRatio),
    ]);
    const head = ['dirty pages', 'pause', 'without the sync', 'copy in memory', 'one write and sync', 'bytes written'];
    return [table(head, rows), measuredOn(result)];
  },
  paper: (result) => {
    const mean = (checkpoints, of) => checkpoints.reduce((sum, one) => sum + one[of], 0) / checkpoints.length;
    const accesses = [result.figure5, result.figure6].map(({ program, size, checkpoints }) => {
      const [dirty, incremental, continuous] = ['dirtyPages', 'incremental', 'continuous'].map((of) =>
        mean(checkpoints, of),
      );
      const saved = `${(100 * (1 - continuous / incremental)).toFixed(1)} %`;
      return [`${program} ${size}`, dirty.toFixed(1), incremental.toFixed(1), continuous.toFixed(1), saved];
    });
    const overheads = result.table1.sizes.map(({ size, cells }) => [
      `matmul ${size}`,
      ...cells
        .filter(({ policy }) => policy !== 'none')
        .map(({ runs }) => `${(100 * (median(runs.map(({ ms, noneMs }) => ms / noneMs)) - 1)).toFixed(1)} %`),
    ]);
    const names = result.table1.sizes[0].cells.filter(({ policy }) => policy !== 'none');
    const head = ['program', 'dirty pages', 'incremental', 'continuous', 'saved'];
    const rounds = result.table1.sizes[0].cells[0].runs.length;
    const { machine, createdMs } = result;
    return [
      'Disk accesses of a checkpoint, in pages, on average:',
      table(head, accesses),
      'Run time beyond that without checkpoints, one every 40 rows:',
      table(['program', ...names.map(({ policy, fork }) => (fork ? `${policy} + fork` : policy))], overheads),
      measuredOn({
        date: new Date(createdMs).toISOString().slice(0, 10),
        node: machine.node,
        platform: machine.platform,
        processor: machine.cpu,
        cores: machine.cpus,
        rounds,
      }),
    ];
  },
  'paging-experiments': (result) => {
    const rows = result.experiments.map((one) => [
      one.name,
      one.replacement,
      String(one.pages),
      String(one.checkpoints),
      one.dirtyPages.toFixed(1),
      one.flushedPages.toFixed(1),
      `${(100 * one.outBefore).toFixed(1)} %`,
      String(one.pageIns),
    ]);
    const head = ['program', 'replacement', 'pages', 'checkpoints', 'dirty pages', 'written at the checkpoint'];
    head.push('out before', 'pages read');
    const { date, node, platform } = result;
    return [
      `In ${result.frames} frames, averages per checkpoint.`,
      table(head, rows),
      `Counted ${date} with Node ${node} on ${platform}.`,
    ];
  },
  'paging-memory': (result) => [
    `A program that fills ${result.guestMb} MB and reads them again, with \`--memory ${result.framesMb}MB\`: the process takes ` +
      `${result.aboveMb.toFixed(0)} MB more than for a program that does nothing (${result.emptyMb.toFixed(0)} MB), at its peak.`,
    measuredOn(result),
  ],
  'write-ahead': (result) => {
    const rows = result.programs.map(({ name, pauseMs, pagesWritten, runRatio }) => [
      name,
      milliseconds(pauseMs.not),
      milliseconds(pauseMs.ahead),
      String(Math.round(pagesWritten.not)),
      String(Math.round(pagesWritten.ahead)),
      ratio(runRatio),
    ]);
    const head = ['program', 'pause', 'with write-ahead', 'pages left to it', 'with write-ahead', 'run time'];
    return [table(head, rows), measuredOn(result)];
  },
  rewriting: (result) => {
    const bytes = result.modules.reduce((sum, module) => sum + module.bytes, 0);
    const ms = result.modules.reduce((sum, module) => sum + module.ms, 0);
    const largest = result.modules.reduce((a, b) => (a.bytes > b.bytes ? a : b));
    return [
      `${result.modules.length} modules, ${megabytes(bytes)} together: ${(bytes / 1000 / ms).toFixed(1)} MB/s; the ` +
        `largest of them, ${largest.name} of ${megabytes(largest.bytes)}, ${largest.megabytesPerSecond.toFixed(1)} MB/s. ` +
        `Code grows by ${ratio(result.codeGrowth)} (geometric mean).`,
      measuredOn(result),
    ];
  },
  kills: (result) => {
    const rows = result.policies.map(({ policy, jobs, kills, right }) => [policy, ...[jobs, kills, right].map(String)]);
    const { date, node, platform, kills, killsOfRunning, jobs, right } = result;
    return [
      `${kills} kills by SIGKILL, ${killsOfRunning} of them while the program ran, with and without \`--fork\` and \`--memory\`: ` +
        `${right} of ${jobs} jobs ended with the output of an uninterrupted run.`,
      table(['policy', 'jobs', 'kills', 'right'], rows),
      `Counted ${date} with Node ${node} on ${platform}.`,
    ];
  },
  hostile: (result) => {
    const rows = result.targets.map(({ name, ...counts }) => [
      name,
      ...[counts.inputs, counts.fixed, counts.accepted, counts.refused].map(String),
    ]);
    const { date, node, inputs, failures } = result;
    return [
      `${inputs} damaged files, half of them with their checksums made right again: all were accepted with right results or ` +
        `refused with an error that says where, but for ${failures.length}.`,
      table(['file', 'inputs', 'with right checksums', 'accepted', 'refused'], rows),
      `Counted ${date} with Node ${node}.`,
    ];
  },
  programs: (result) => {
    const rows = result.programs.map((program) => {
      const { title, name, source, bytes, functions, rewriteMs, codeGrowth, kills, identical, rounds = [] } = program;
      const whole = program.unavailable === undefined && program.refused === undefined && identical;
      const cell = (value, format) => (value === undefined ? '—' : format(value));
      const time = (figure) =>
        cell(rounds.length > 0 ? median(rounds.map((round) => round[figure])) : undefined, seconds);
      return [
        title ?? name,
        source ?? '—',
        cell(bytes, megabytes),
        cell(functions, String),
        cell(rewriteMs, seconds),
        cell(codeGrowth, ratio),
        time('optimisedGuestMs'),
        time('plainGuestMs'),
        time('guestMs'),
        cell(program.ratio, ratio),
        cell(program.plainRatio, ratio),
        cell(kills, String),
        whole ? 'yes' : oneLine(program.unavailable ?? program.refused ?? program.failure ?? 'no'),
      ];
    });
    const head = ['program', 'source', 'size', 'functions', 'rewritten in', 'code', 'optimised', 'plain', 'Continuo'];
    head.push('to optimised', 'to plain', 'kills', 'identical');
    const { ratio: toOptimised, plainRatio, wholeRatio } = result.geometricMean;
    return [
      ...(toOptimised === undefined
        ? []
        : [
            `Geometric means: ${ratio(toOptimised)} to plain Node with everything compiled by the optimising compiler ` +
              `before the program starts (its time not counted), ${ratio(plainRatio)} to plain Node as it comes, ` +
              `${ratio(wholeRatio)} for whole processes. Continuo takes a checkpoint each ${result.interval}.`,
          ]),
      table(head, rows),
      measuredOn(result),
    ];
  },
};

function oneLine(text) {
  return text.split('\n')[0].replaceAll('|', '/');
}

/** The README with the figures of the results in a folder. */
export function withFigures(readme, resultsFolder) {
  const names = new Set();
  const text = readme.replace(/(<!-- figures: (\S+) -->\n)[^]*?(<!-- end -->)/g, (_, start, name, end) => {
    names.add(name);
    const path = join(resultsFolder, `${name}.json`);
    const paragraphs = existsSync(path) ? figures[name](JSON.parse(readFileSync(path, 'utf8'))) : [NOT_MEASURED];
    return `${start}\n${paragraphs.join('\n\n')}\n\n${end}`;
  });
  const missing = Object.keys(figures).filter((name) => !names.has(name));
  if (missing.length > 0) throw new Error(`README.md has no place for the figures of ${missing.join(', ')}.`);
  return text;
}

if (process.argv[1] && resolve(process.argv[1]) === fileURLToPath(import.meta.url)) {
  const path = join(root, 'README.md');
  const readme = readFileSync(path, 'utf8');
  const renewed = withFigures(readme, join(root, 'bench', 'results'));
  if (!process.argv.includes('--check')) writeFileSync(path, renewed);
  else if (renewed !== readme) {
    console.error('README.md is out of date: run node scripts/readme-figures.mjs');
    process.exitCode = 1;
  }
}
