/**
 * Checks the code itself: names, lengths, words that must not stay, and the direction of dependencies, which the linter
 * checks as well.
 */
import { spawnSync } from 'node:child_process';
import {
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, dirname, join, posix } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { fileFolders, importable, layers, ownFileReaders } from '../oxlint.config.mjs';

const root = fileURLToPath(new URL('..', import.meta.url));

/** Files of the project, with forward slashes; what is installed or built is left out. */
const files = readdirSync(root)
  .filter((name) => !/^(node_modules|dist|dist-.*|\.git)$|\.log$/.test(name))
  .flatMap((name) =>
    statSync(join(root, name)).isDirectory()
      ? readdirSync(join(root, name), { recursive: true, encoding: 'utf8' }).map((below) => join(name, below))
      : [name],
  )
  .filter((file) => statSync(join(root, file)).isFile())
  .map((file) => file.replaceAll('\\', '/'));
const isGenerated = (file: string): boolean => file === 'package-lock.json' || file.startsWith('bench/results/');
const codeFiles = files.filter((file) => /\.(ts|mts|mjs|cjs|js|c|h|sh)$/.test(file) && !isGenerated(file));
const sourceFiles = codeFiles.filter((file) => file.startsWith('src/'));
const textFiles = files.filter((file) => !isGenerated(file) && !/\.(wasm|bin|png|gz)$/.test(file));

const linesOf = (file: string): string[] => readFileSync(join(root, file), 'utf8').split('\n');

/** `file:line: text` of every line that matches. */
function occurrences(among: readonly string[], pattern: RegExp): string[] {
  return among.flatMap((file) =>
    linesOf(file).flatMap((line, index) => (pattern.test(line) ? [`${file}:${index + 1}: ${line.trim()}`] : [])),
  );
}

/** Targets of relative imports and exports of a file, types included, as paths from the root. */
function importsOf(file: string): string[] {
  const source = readFileSync(join(root, file), 'utf8');
  const specifiers = source.matchAll(/(?:\bfrom|\bimport)\s*\(?\s*'(\.[^']*)'/g);
  return Array.from(specifiers, ([, specifier]) => posix.join(posix.dirname(file), specifier));
}

it('finds the code that it checks', () => {
  expect(sourceFiles).toContain('src/memory/layout.ts');
  expect(codeFiles).toContain('test/tidy.test.ts');
});

describe('names', () => {
  it('no file says nothing about its content', () => {
    const empty = /^(utils?|helpers?|types?|misc|common|index)\.(ts|mjs)$/;
    expect(codeFiles.filter((file) => empty.test(basename(file)) && file !== 'src/index.ts')).toEqual([]);
  });

  it('files and folders of code are in kebab case', () => {
    const kebab = /^[a-z0-9]+(-[a-z0-9]+)*(\.(test|config|d|worker))*\.[a-z]+$/;
    expect(codeFiles.filter((file) => !kebab.test(basename(file)))).toEqual([]);
    const folders = new Set(codeFiles.flatMap((file) => dirname(file).split('/')));
    expect([...folders].filter((folder) => !/^\.?[a-z0-9-]*$/.test(folder))).toEqual([]);
  });

  it('no declaration is a Manager, a Helper or an interface with an I', () => {
    expect(occurrences(codeFiles, /\b(class|interface|type|function) (\w*(Manager|Helper)\b|I[A-Z][a-z])/)).toEqual([]);
  });
});

it('no file of code has more than 500 lines', () => {
  expect(codeFiles.filter((file) => linesOf(file).length > 500)).toEqual([]);
});

describe('the text', () => {
  it('of src holds no any', () => {
    expect(occurrences(sourceFiles, /(:|<|\bas|[|&]|,)\s*any\b(\[\])?\s*([;,)>=|&{[]|$)/)).toEqual([]);
  });

  it('of src holds no syntax that a type stripper cannot erase', () => {
    expect(occurrences(sourceFiles, /^\s*(export )?(declare )?(const )?(enum|namespace) \w/)).toEqual([]);
  });

  it('holds no work left to do', () => {
    // Spelt in two parts, so that this file passes its own test.
    const left = new RegExp(`\\b(${['TO' + 'DO', 'FIX' + 'ME', 'XX' + 'X', 'HA' + 'CK'].join('|')})\\b`);
    expect(occurrences(textFiles, left)).toEqual([]);
  });

  it('switches no test off and runs none alone', () => {
    const tests = codeFiles.filter((file) => file.endsWith('.test.ts') && file !== 'test/tidy.test.ts');
    expect(occurrences(tests, /\b(it|test|describe)\.(only|skip|todo)\b/)).toEqual([]);
  });

  it('names no path or host of the machine it was written on', () => {
    const machine = new RegExp(
      `(^|[^\\w.])/(${['wo' + 'rk', 'ro' + 'ot', 'ho' + 'me'].join('|')})/\\w|\\.\\./sha` + 'red/',
    );
    expect(occurrences(textFiles, machine)).toEqual([]);
    expect(
      occurrences(
        files.filter((file) => file === 'package-lock.json'),
        /"resolved": "(?!https:\/\/registry\.npmjs\.org\/)/,
      ),
    ).toEqual([]);
  });
});

describe('dependencies point downward', () => {
  it('the table of folders has no cycle and names each folder of src', () => {
    const seen = new Set<string>();
    const visit = (folder: string, above: readonly string[]): void => {
      expect(above, `cycle through ${folder}`).not.toContain(folder);
      for (const below of layers[folder]) visit(below, [...above, folder]);
      seen.add(folder);
    };
    for (const folder of Object.keys(layers)) visit(folder, []);
    const folders = new Set(sourceFiles.filter((file) => file.split('/').length > 2).map((file) => file.split('/')[1]));
    expect([...folders].filter((folder) => !seen.has(folder))).toEqual([]);
  });

  it('in the code', () => {
    const upward = sourceFiles.flatMap((file) => {
      const [, folder, ...rest] = file.split('/');
      if (rest.length === 0) return [];
      const allowed = importable(folder).map((name) => `src/${name}/`);
      return importsOf(file)
        .filter((target) => !allowed.some((prefix) => target.startsWith(prefix)))
        .map((target) => `${file} imports ${target}`);
    });
    expect(upward).toEqual([]);
  });

  it('only some folders open files', () => {
    const others = sourceFiles.filter(
      (file) => !fileFolders.includes(file.split('/')[1]) && !ownFileReaders.includes(file),
    );
    expect(occurrences(others, /'(node:)?fs(\/promises)?'/)).toEqual([]);
  });

  it('and the linter refuses each import that does not', () => {
    const scratch = mkdtempSync(join(tmpdir(), 'continuo-lint-'));
    try {
      copyFileSync(join(root, 'oxlint.config.mjs'), join(scratch, 'oxlint.config.mjs'));
      const expected: string[] = [];
      for (const folder of Object.keys(layers)) {
        mkdirSync(join(scratch, 'src', folder), { recursive: true });
        const targets = [...Object.keys(layers).map((other) => `../${other}/noun.ts`), '../index.ts', 'node:fs'];
        for (const [index, target] of targets.entries()) {
          const file = `src/${folder}/noun-${index}.ts`;
          writeFileSync(join(scratch, file), `export { a } from '${target}';\n`);
          const allowed =
            target === 'node:fs' ? fileFolders.includes(folder) : importable(folder).includes(target.split('/')[1]);
          if (!allowed) expected.push(file);
        }
      }
      const linter = join(root, 'node_modules', 'oxlint', 'bin', 'oxlint');
      const args = [linter, '-c', 'oxlint.config.mjs', '--format', 'unix', 'src'];
      const { stdout } = spawnSync(process.execPath, args, { cwd: scratch, encoding: 'utf8' });
      const refused = stdout.split('\n').filter((line) => line.includes('no-restricted-imports'));
      const refusedFiles = new Set(refused.map((line) => line.slice(0, line.indexOf(':')).replaceAll('\\', '/')));
      expect([...refusedFiles].toSorted()).toEqual(expected.toSorted());
    } finally {
      rmSync(scratch, { recursive: true, force: true });
    }
  });
});

it('docs/dependencies.md names every dependency with its version, and no other', () => {
  const rows = linesOf('docs/dependencies.md').flatMap((line) => {
    const [, name, version] = /^\| `([^`]+)` +\| (\d[\w.-]*) +\|/.exec(line) ?? [];
    return name === undefined ? [] : [[name, version]];
  });
  const manifest: unknown = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));
  const { dependencies, devDependencies, optionalDependencies } = manifest as Record<string, Record<string, string>>;
  expect(Object.fromEntries(rows)).toEqual({ ...dependencies, ...devDependencies, ...optionalDependencies });
});

it('package-lock.json names the platform packages of every operating system, or npm ci refuses it elsewhere', () => {
  const lock: unknown = JSON.parse(readFileSync(join(root, 'package-lock.json'), 'utf8'));
  const { packages } = lock as { packages: Record<string, { optionalDependencies?: Record<string, string> }> };
  const optional = Object.values(packages).flatMap((entry) => Object.keys(entry.optionalDependencies ?? {}));
  expect(optional.length).toBeGreaterThan(0);
  expect(
    optional.filter((name) => !Object.keys(packages).some((path) => path.endsWith(`node_modules/${name}`))),
  ).toEqual([]);
});
