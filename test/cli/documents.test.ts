/** The documents about errors, statistics and the command line say what the code does: each table is held against it. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import * as errors from '../../src/error/errors.ts';
import { continuo, root, scratch, workload } from './continuo.ts';

const read = (path: string): string => readFileSync(join(root, path), 'utf8');

/** Cells of the rows of a document's tables whose first cell is code. */
function rowsOf(document: string): string[][] {
  return read(document)
    .split('\n')
    .filter((line) => line.startsWith('| `'))
    .map((line) =>
      line
        .split(/(?<!\\)\|/)
        .slice(1, -1)
        .map((cell) => cell.trim()),
    );
}

describe('docs/errors.md', () => {
  const rows = rowsOf('docs/errors.md');

  it('has every code of src/error/errors.ts, once, and no other', () => {
    const unions = read('src/error/errors.ts').matchAll(/^export type \w+ErrorCode =([^;]+);/gm);
    const codes = Array.from(unions, ([, union]) =>
      Array.from(union.matchAll(/'([a-z-]+)'/g), ([, code]) => code),
    ).flat();
    expect(codes.length).toBeGreaterThan(15);
    expect(rows.map(([code]) => code.replaceAll('`', '')).toSorted()).toEqual(codes.toSorted());
  });

  it('names the class and the exit code of each', () => {
    const unionClasses: Readonly<Record<string, string>> = {
      Usage: 'UsageError',
      Unsupported: 'UnsupportedModuleError',
      Trap: 'GuestTrapError',
      Storage: 'StorageError',
      Corruption: 'CorruptionError',
    };
    const examples: readonly errors.ContinuoError[] = [
      new errors.UsageError('bad-argument', ''),
      new errors.UnsupportedModuleError('', '', 0),
      new errors.GuestTrapError('', []),
      new errors.StorageError(''),
      new errors.CorruptionError(''),
    ];
    for (const [, name, union] of read('src/error/errors.ts').matchAll(/^export type (\w+)ErrorCode =([^;]+);/gm)) {
      if (unionClasses[name] === undefined) continue;
      const example = examples.find((error) => error.name === unionClasses[name])!;
      for (const [, code] of union.matchAll(/'([a-z-]+)'/g)) {
        const row = rows.find(([cell]) => cell === `\`${code}\``)!;
        expect(row.slice(1, 3)).toEqual([`\`${example.name}\``, String(example.exitCode)]);
        expect(row[3].length).toBeGreaterThan(10);
        expect(row[4].length).toBeGreaterThan(10);
      }
    }
  });

  it('lists the exit codes of the classes', () => {
    const listed = Array.from(read('docs/errors.md').matchAll(/^\| (\d+) +\|/gm), ([, code]) => Number(code));
    expect(listed).toEqual(expect.arrayContaining([2, 65, 70, 74, 85, 130, 134, 143]));
  });
});

describe('docs/stats.md', () => {
  /** Fields of a value, those of objects in it as `object.field`; elements of arrays are left out. */
  function fieldsOf(value: object, prefix = ''): [field: string, type: string][] {
    return Object.entries(value).flatMap(([name, field]: [string, unknown]): [string, string][] => {
      if (Array.isArray(field)) return [[prefix + name, `array of ${typeof field[0]}s`]];
      if (typeof field === 'object' && field !== null) return fieldsOf(field, `${prefix}${name}.`);
      return [[prefix + name, typeof field]];
    });
  }

  it('describes each field that a run writes, in its order and with its type, and no other', async () => {
    const folder = scratch();
    const stats = join(folder, 'stats.json');
    const run = async (job: string, ...options: string[]): Promise<{ checkpoints: object[] }> => {
      const common = ['--job', join(folder, job), '--stats', stats, '--interval', '5ms', '--tracker', 'software'];
      expect((await continuo(['run', ...common, ...options, workload('apsp'), '100', '1'])).exitCode).toBe(0);
      return JSON.parse(readFileSync(stats, 'utf8'));
    };
    const described = rowsOf('docs/stats.md').map(([field, type]) => [field.replaceAll('`', ''), type]);
    const paged = await run('paged', '--memory', '20p');
    expect(described).toEqual([...fieldsOf(paged), ...fieldsOf(paged.checkpoints[0])]);
    const written = await run('resident');
    const expected = described.filter(([field]) => !field.startsWith('paging.'));
    expect([...fieldsOf(written), ...fieldsOf(written.checkpoints[0])]).toEqual(expected);
    expect(written).toMatchObject({
      program: workload('apsp'),
      arguments: ['100', '1'],
      policy: 'continuous',
      tracker: 'software',
      end: 'exited',
      exitCode: 0,
      resumedFrom: 0,
      fork: false,
      faults: { soft: 0, hard: 0, protection: 0, copy: 0, protectionUs: 0, copyUs: 0 },
    });
  });
});

describe('docs/cli.md', () => {
  it('has the options of the commands, as their help shows them, and no other', async () => {
    const helpOptions = async (name: string): Promise<string[]> => {
      const { stdout } = await continuo([name, '--help']);
      return Array.from(stdout.matchAll(/^ {2}(?:-\w, )?(--[a-z-]+(?: <[^>]+>)?)/gm), ([, option]) => option);
    };
    const optionsOf = async (name: string): Promise<string[]> =>
      (await helpOptions(name)).filter((option) => option !== '--help');
    /** Options of the table in the section of a command. */
    const optionsIn = (name: string): string[] => {
      const [section] = read('docs/cli.md').split(`\n## \`continuo ${name}\`\n`)[1].split('\n## ');
      const rows = section.split('\n').filter((line) => line.startsWith('| `-'));
      return rows.map((line) => /`(--[^`]+)`/.exec(line)![1]);
    };
    const [run, resume, inspect] = await Promise.all(['run', 'resume', 'inspect'].map(helpOptions));
    const text = read('docs/cli.md');
    const described = optionsIn('run');
    expect(described.toSorted()).toEqual(run.filter((option) => option !== '--help').toSorted());
    const others = [
      'diff',
      'memory',
      'gc',
      'compare',
      'trace',
      'simulate',
      'interval',
      'export',
      'restart',
      'fork',
      'apply',
      'standby',
      'doctor',
    ];
    for (const name of others) expect([name, optionsIn(name)]).toEqual([name, await optionsOf(name)]);
    const [, resumeText] = /## `continuo resume`\n\n([^#]+)/.exec(text)!;
    const mentioned = Array.from(resumeText.matchAll(/`(--[a-z-]+)`/g), ([, option]) => option);
    expect(mentioned.toSorted()).toEqual(
      resume
        .map((option) => option.split(' ')[0])
        .filter((option) => option !== '--help')
        .toSorted(),
    );
    const look = ['--json', '--key-file <file>', '--passphrase-file <file>'];
    expect(inspect).toEqual([...look, '--help']);
    expect(await optionsOf('verify')).toEqual(look);
    for (const name of ['inspect', 'verify']) {
      const [, section] = new RegExp(`## \`continuo ${name}\`\n\n([^#]+)`).exec(text)!;
      for (const option of ['--json', '--key-file', '--passphrase-file']) expect(section).toContain(`\`${option}\``);
    }
  });
});
