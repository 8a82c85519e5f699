// The C++ library with exceptions, for WebAssembly's exceptions in their first form. Debian's library for WASI is built
// without them; Emscripten's sources of libc++, libc++abi and libunwind compile for WASI as they are.
import fs from 'node:fs';
import path from 'node:path';
import { cached } from './cache.mjs';
import { compilerForWasi, debianSource, run } from './debian-source.mjs';

/** Threads, files by name, and time zones: parts that WASI preview 1 cannot carry, and that the programs do not use. */
const LEFT_OUT = /^(atomic|barrier|condition_variable|future|mutex|print|shared_mutex|thread|tz)/;
const ABI_SOURCES = (
  'abort_message cxa_aux_runtime cxa_default_handlers cxa_demangle cxa_exception cxa_exception_storage cxa_guard ' +
  'cxa_handlers cxa_personality cxa_virtual fallback_malloc private_typeinfo stdlib_exception stdlib_new_delete ' +
  'stdlib_stdexcept stdlib_typeinfo'
).split(' ');

/** Words for clang++ that compile a program with exceptions and link it with this library, and the library's version. */
export async function exceptionLibrary() {
  const { folder, version } = debianSource('emscripten');
  const library = path.join(folder, 'system/lib');
  const headers = [
    '-nostdinc++',
    ...['libcxx', 'libcxxabi', 'libunwind'].flatMap((part) => ['-isystem', path.join(library, part, 'include')]),
  ];
  const words = [
    '-fwasm-exceptions',
    // Clang before 15 defines this for Emscripten alone.
    '-D__WASM_EXCEPTIONS__',
    '-D_LIBCPP_HAS_NO_THREADS',
    '-D_LIBCPP_DISABLE_VISIBILITY_ANNOTATIONS',
  ];
  const objects = await cached(
    'wasm/exceptions',
    ['recipe 1', version, LEFT_OUT.source, ...words, ...ABI_SOURCES].join('\n'),
    (output) => build(library, [...words, ...headers], output),
  );
  const linked = fs.readdirSync(objects).map((name) => path.join(objects, name));
  return { words: ['-std=c++20', ...words, ...headers, '-nostdlib++', ...linked], version };
}

function build(library, words, output) {
  const compiler = compilerForWasi();
  fs.mkdirSync(output);
  const folder = (...parts) => path.join(library, ...parts);
  const sources = ['libcxx/src', 'libcxx/src/ryu'].flatMap((part) =>
    fs
      .readdirSync(folder(part))
      .filter((name) => name.endsWith('.cpp') && !LEFT_OUT.test(name))
      .map((name) => folder(part, name)),
  );
  sources.push(...ABI_SOURCES.map((name) => folder('libcxxabi/src', `${name}.cpp`)));
  const building = ['-D_LIBCPP_BUILDING_LIBRARY', '-D_LIBCXXABI_BUILDING_LIBRARY', '-DLIBCXX_BUILDING_LIBCXXABI=1'];
  building.push('-D_LIBCXXABI_HAS_NO_THREADS', `-I${folder('libcxx/src')}`);
  run(compiler[0], [...compiler.slice(1), '-std=c++20', ...words, ...building, '-c', ...sources], output);
  const unwinding = [
    '-D_LIBUNWIND_HAS_NO_THREADS',
    '-D_LIBUNWIND_HIDE_SYMBOLS',
    '-DNDEBUG',
    '-c',
    folder('libunwind/src/Unwind-wasm.c'),
  ];
  run(compiler[0], [...compiler.slice(1), ...words, ...unwinding], output);
}
