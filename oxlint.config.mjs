/**
 * Lint rules, and the direction of dependencies: a folder of `src` may import itself, `error`, `memory` and what
 * `layers` names for it, nothing else. `test/tidy.test.ts` holds the same table against the code in another way.
 */

/** Folders of `src` and what each may import besides itself, `error` and `memory`. */
export const layers = {
  error: [],
  memory: ['error'],
  wasm: [],
  kernel: [],
  format: [],
  device: [],
  seal: ['format', 'device'],
  rewrite: ['wasm'],
  pager: ['kernel', 'device', 'format'],
  save: ['device', 'format', 'pager'],
  checkpoint: ['device', 'format', 'pager', 'save'],
  wasi: ['device', 'format'],
  simulate: ['format', 'device', 'pager', 'checkpoint'],
  machine: ['kernel', 'wasm', 'rewrite', 'format', 'device', 'pager', 'save', 'checkpoint', 'seal', 'wasi', 'simulate'],
  inspect: ['wasm', 'rewrite', 'format', 'device', 'pager', 'checkpoint', 'seal', 'wasi', 'machine'],
  restart: ['format', 'device', 'pager', 'checkpoint', 'seal', 'wasi', 'machine'],
  report: [],
  cli: [
    'kernel',
    'wasm',
    'format',
    'device',
    'checkpoint',
    'wasi',
    'machine',
    'simulate',
    'seal',
    'inspect',
    'restart',
    'report',
  ],
};

/** Folders that may open files by `node:fs`: job data, files of the guest, files named on the command line, reports. */
export const fileFolders = ['device', 'wasi', 'cli', 'report'];

/** Folders that all others may import. */
const foundations = ['error', 'memory'];

/** All folders of `src` that a folder may import from, itself included. */
export function importable(folder) {
  return [folder, ...layers[folder], ...(foundations.includes(folder) ? [] : foundations)];
}

/** Files elsewhere that read files of Continuo's own, which are no job data. */
export const ownFileReaders = ['src/format/page-kernels.ts'];

function importRule(folder, readsFiles = fileFolders.includes(folder)) {
  const allowed = importable(folder);
  const forbidden = Object.keys(layers).filter((other) => !allowed.includes(other));
  const patterns = [
    {
      regex: `^(\\.\\./)+(${forbidden.join('|')}|index\\.)(/|ts$|js$)`,
      message: `src/${folder} may import only ${allowed.join(', ')}: dependencies point downward.`,
    },
  ];
  const paths = readsFiles
    ? []
    : ['fs', 'node:fs', 'fs/promises', 'node:fs/promises'].map((name) => ({
        name,
        message: 'Job data pass through src/device, so that crash tests can stand in for it.',
      }));
  return ['error', { patterns, paths }];
}

export default {
  plugins: ['eslint', 'typescript', 'unicorn', 'oxc', 'import', 'promise', 'node'],
  categories: { correctness: 'error' },
  env: { builtin: true, node: true, es2024: true },
  ignorePatterns: [
    'dist/**',
    'dist-*/**',
    'bench/results/**',
    // AssemblyScript's top-level decorators are no TypeScript.
    'workloads/common/wasi.ts',
    'include/continuo.ts',
  ],
  rules: {
    eqeqeq: 'error',
    'no-var': 'error',
    'prefer-const': 'error',
    'no-empty': ['error', { allowEmptyCatch: false }],
    'no-unused-vars': ['error', { argsIgnorePattern: '^_', caughtErrors: 'all' }],
    'no-throw-literal': 'error',
    'no-return-assign': 'error',
    'no-param-reassign': 'off',
    'import/no-cycle': 'error',
    'import/no-default-export': 'off',
    'typescript/no-explicit-any': 'error',
    'typescript/no-non-null-assertion': 'off',
    'typescript/no-floating-promises': 'error',
    'typescript/no-misused-promises': 'error',
    'typescript/await-thenable': 'error',
    'typescript/only-throw-error': 'error',
    'typescript/no-namespace': 'error',
    'typescript/ban-ts-comment': 'error',
  },
  overrides: [
    {
      files: ['src/**/*.ts'],
      rules: {
        'import/no-default-export': 'error',
        'typescript/no-unsafe-argument': 'error',
        'typescript/no-unsafe-assignment': 'error',
        'typescript/no-unsafe-call': 'error',
        'typescript/no-unsafe-member-access': 'error',
        'typescript/no-unsafe-return': 'error',
        'typescript/switch-exhaustiveness-check': ['error', { considerDefaultExhaustiveForUnions: true }],
        'typescript/no-unnecessary-type-assertion': 'error',
      },
    },
    ...Object.keys(layers).map((folder) => ({
      files: [`src/${folder}/**/*.ts`],
      rules: { 'no-restricted-imports': importRule(folder) },
    })),
    ...ownFileReaders.map((file) => ({
      files: [file],
      rules: { 'no-restricted-imports': importRule(file.split('/')[1], true) },
    })),
    {
      // The compiler of AssemblyScript has number types and operators of its own that the rules know nothing of.
      files: ['workloads/**/*.ts', 'assembly/**/*.ts', 'bench/kernels/**/*.ts'],
      rules: { eqeqeq: 'off', 'no-loss-of-precision': 'off' },
    },
  ],
};
