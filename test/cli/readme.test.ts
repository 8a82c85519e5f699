/** README.md shows what works: its examples run, its figures are those of the results. */
import { spawnSync } from 'node:child_process';
import { chmodSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { withFigures } from '../../scripts/readme-figures.mjs';
import { command, root, scratch } from './continuo.ts';

const readme = readFileSync(join(root, 'README.md'), 'utf8');
const blocks = (kind: string): string[] =>
  Array.from(readme.matchAll(new RegExp(`^\`\`\`${kind}\\n([^]*?)^\`\`\`$`, 'gm')), ([, text]) => text);

/** A folder in which the README's examples find the programs, the command and the package, as after an installation. */
function installation(): string {
  const folder = scratch();
  for (const name of ['dist', 'examples']) symlinkSync(join(root, name), join(folder, name));
  mkdirSync(join(folder, 'node_modules', '.bin'), { recursive: true });
  symlinkSync(root, join(folder, 'node_modules', 'continuo'));
  const starter = join(folder, 'node_modules', '.bin', 'continuo');
  writeFileSync(starter, `#!/bin/sh\nexec "${process.execPath}" "${command}" "$@"\n`);
  chmodSync(starter, 0o755);
  return folder;
}

function run(folder: string, file: string, args: readonly string[]): { stdout: string; stderr: string } {
  const path = [join(folder, 'node_modules', '.bin'), process.env['PATH']].join(delimiter);
  const env = { ...process.env, PATH: path };
  const { status, stdout, stderr } = spawnSync(file, args, { cwd: folder, env, encoding: 'utf8', input: '' });
  expect({ status, stderr }, args.join(' ')).toMatchObject({ status: 0 });
  return { stdout, stderr };
}

describe('README.md', () => {
  it(
    'has examples of shell that run, in their order, and do what the text around them says',
    { timeout: 300_000 },
    () => {
      const folder = installation();
      const examples = blocks('sh checked');
      expect(examples).toHaveLength(11);
      const outputs = examples.map((example) => run(folder, 'sh', ['-e', '-c', example]));
      expect(outputs[0].stdout).toMatch(/^apsp size=300 seed=1 digest=[0-9a-f]{16}\n$/);
      expect(outputs[1].stdout).toBe('');
      expect(readFileSync(join(folder, 'digest.txt'), 'utf8')).toBe(
        'sort size=100000 seed=1 digest=0d23bdabea9f9fc5\n',
      );
      expect(JSON.parse(readFileSync(join(folder, 'stats.json'), 'utf8'))).toMatchObject({
        end: 'exited',
        exitCode: 0,
      });
      expect(outputs[2].stdout).toMatch(/^floyd-warshall size=200 seed=1 digest=[0-9a-f]{16}\n$/);
      expect(outputs[3].stdout).toContain('All 7 runs gave the same output.');
      expect(readFileSync(join(folder, 'comparison.html'), 'utf8')).toContain('<svg');
      expect(outputs[4].stderr).toContain('sorted had ended before, with exit code 0');
      expect(outputs[5].stdout).toMatch(/^job +\S+my-job\nprogram +dist\/workloads\/apsp\.wasm /);
      expect(outputs[6].stdout).toMatch(/^matmul size=700 seed=1 digest=[0-9a-f]{16}\njob +\S+steps\n/);
      expect(outputs[7].stderr).toContain('moved is a job now, at checkpoint');
      expect(outputs[8].stdout).toMatch(/^ +100 continuous .*\n +100 incremental /m);
      expect(outputs[8].stdout).toMatch(/^Daly +every [\d.]+ s, expected overhead /m);
      expect(outputs[9].stdout).toContain('Node.js');
      const { stdout: undisturbed } = run(folder, process.execPath, ['examples/emscripten.mjs', 'solve']);
      expect(undisturbed).toMatch(/^status 0, objective \d+\.?\d*\n$/);
      expect(outputs[10].stdout).toBe(`stopped in the middle of the call\n${undisturbed}`);
    },
  );

  it('has examples of code that run', () => {
    const folder = installation();
    const examples = blocks('js checked');
    expect(examples).toHaveLength(1);
    writeFileSync(join(folder, 'example.mjs'), examples[0]);
    const { stdout, stderr } = run(folder, process.execPath, ['example.mjs']);
    expect(stdout).toMatch(/^matmul size=100 seed=1 digest=[0-9a-f]{16}\n$/);
    expect(stderr).toMatch(/^(checkpoint \d+: \d+ dirty pages, \S+ ms\n)+exit code 0\n$/);
  });

  it('names commands of npm that there are, and the two that do everything', () => {
    const { scripts } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as { scripts: object };
    const named = Array.from(readme.matchAll(/npm (?:run )?([a-z][\w:]*)/g), ([, name]) => name);
    const known = [...Object.keys(scripts), 'ci', 'install'];
    expect(named.filter((name) => !known.includes(name) && name !== 'and')).toEqual([]);
    expect(blocks('sh')).toEqual(['npm run demo\n', 'npm test\n']);
  });

  it('points to files that there are', () => {
    const links = Array.from(readme.matchAll(/\]\(([^)]+)\)/g), ([, target]) => target);
    expect(links.length).toBeGreaterThan(5);
    for (const link of links) {
      const [path, heading] = link.split('#');
      const text = readFileSync(join(root, path), 'utf8');
      if (heading === undefined) continue;
      const headings = Array.from(text.matchAll(/^#+ (.+)$/gm), ([, words]) => words.toLowerCase());
      const anchors = headings.map((words) => words.replaceAll(/[^\w -]/g, '').replaceAll(' ', '-'));
      expect(anchors, link).toContain(heading);
    }
  });

  it('has the figures of bench/results', () => {
    expect(withFigures(readme, join(root, 'bench', 'results'))).toBe(readme);
  });
});

describe('the figures', () => {
  it('say so where nothing was measured', () => {
    const texts = withFigures(readme, join(root, 'no', 'results'))
      .split('<!-- figures: ')
      .slice(1);
    expect(texts.length).toBeGreaterThan(3);
    for (const text of texts) expect(text).toMatch(/^[\w-]+ -->\n\nNot measured yet\.\n\n<!-- end -->/);
  });

  it('are taken from the results', () => {
    const folder = scratch();
    const facts = {
      date: '2026-01-02',
      node: 'v20.19.0',
      platform: 'linux 6.1 x64',
      processor: 'P',
      cores: 2,
      rounds: 3,
    };
    const point = { dirtyPages: 256, pauseMs: 1.234, pauseWithoutSyncMs: 0.5, copyMs: 0.1, sequentialWriteMs: 2 };
    writeFileSync(join(folder, 'pause.json'), JSON.stringify({ ...facts, points: [{ ...point, bytesRatio: 1.004 }] }));
    const text = withFigures(readme, folder);
    expect(text).toContain(
      '|         256 | 1.23 ms |         0.500 ms |       0.100 ms |            2.00 ms |        1.00 × |',
    );
    expect(text).toContain('Measured 2026-01-02 with Node v20.19.0 on linux 6.1 x64, 2 × P, medians of 3 rounds.');
  });
});
