import { createHash } from 'node:crypto';
import * as fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { FileCache } from '../../src/device/file-cache.ts';
import { rewriteCached } from '../../src/machine/rewrite-cache.ts';
import { rewriteModule } from '../../src/rewrite/rewrite.ts';
import { decodeModule } from '../../src/wasm/module.ts';

const options = { tracking: 'software', counting: false } as const;

/** The sort workload with a custom section that makes it large enough to be kept. */
function largeProgram(): Uint8Array {
  const program = fs.readFileSync(new URL('../../dist/workloads/sort.wasm', import.meta.url));
  const padding = Buffer.alloc(600_000, 0x2a);
  padding[0] = 1;
  const section = Buffer.concat([Buffer.from([0, 0xc0, 0xcf, 0x24]), padding]);
  return new Uint8Array(Buffer.concat([program, section]));
}

describe('the cache of rewritten programs', () => {
  let directory: string;
  beforeAll(() => {
    directory = fs.mkdtempSync(join(tmpdir(), 'continuo-cache-'));
  });
  afterAll(() => fs.rmSync(directory, { recursive: true, force: true }));

  it('gives back what a rewriting makes, everything that the machine needs included', () => {
    const module = decodeModule(largeProgram());
    const made = rewriteModule(module, options);
    const cache = new FileCache(join(directory, 'whole'));
    const first = rewriteCached(module, options, cache);
    expect(fs.readdirSync(join(directory, 'whole'))).toHaveLength(1);
    const second = rewriteCached(module, options, cache);
    for (const rewritten of [first, second]) {
      expect(Buffer.compare(rewritten.bytes, made.bytes)).toBe(0);
      expect(rewritten.graph).toEqual(made.graph);
      expect(rewritten.runtimeFunctions).toEqual(made.runtimeFunctions);
      expect(rewritten.addedFunctionTypes).toEqual(made.addedFunctionTypes);
    }
  });

  it('keeps programs with canonical NaNs apart, and those that tell of growth', () => {
    const module = decodeModule(largeProgram());
    const cache = new FileCache(join(directory, 'canonical'));
    rewriteCached(module, options, cache);
    rewriteCached(module, { ...options, canonicalNan: true }, cache);
    rewriteCached(module, { ...options, canonicalNan: false }, cache);
    expect(fs.readdirSync(join(directory, 'canonical'))).toHaveLength(2);
    rewriteCached(module, { ...options, tracking: 'none', tellsGrowth: false }, cache);
    const told = rewriteCached(module, { ...options, tracking: 'none', tellsGrowth: true }, cache);
    expect(fs.readdirSync(join(directory, 'canonical'))).toHaveLength(4);
    expect(Buffer.compare(told.bytes, rewriteModule(module, { ...options, tracking: 'none' }).bytes)).not.toBe(0);
  });

  it('rewrites anew when an entry was damaged', () => {
    const module = decodeModule(largeProgram());
    const cache = new FileCache(join(directory, 'damaged'));
    const whole = rewriteCached(module, options, cache).bytes;
    const [name] = fs.readdirSync(join(directory, 'damaged'));
    const path = join(directory, 'damaged', name);
    const bytes = fs.readFileSync(path);
    for (const at of [0, 31, 32, bytes.length >> 1, bytes.length - 1]) {
      const damaged = Buffer.from(bytes);
      damaged[at] ^= 1;
      fs.writeFileSync(path, damaged);
      expect(cache.read(name)).toBeUndefined();
      expect(Buffer.compare(rewriteCached(module, options, cache).bytes, whole)).toBe(0);
      expect(cache.read(name)).toBeDefined();
    }
    fs.writeFileSync(path, bytes.subarray(0, 20));
    expect(cache.read(name)).toBeUndefined();
  });

  it('does without when nothing can be written', () => {
    const file = join(directory, 'a-file');
    fs.writeFileSync(file, '');
    const rewritten = rewriteCached(decodeModule(largeProgram()), options, new FileCache(file));
    expect(rewritten.bytes.length).toBeGreaterThan(0);
    expect(fs.readFileSync(file, 'utf8')).toBe('');
  });

  it('is found by the custom of the system, elsewhere, or nowhere, as the environment says', () => {
    expect(FileCache.ofUser({ CONTINUO_CACHE: 'off' })).toBeUndefined();
    const cache = FileCache.ofUser({ CONTINUO_CACHE: join(directory, 'named') });
    const contents = Uint8Array.of(1, 2, 3);
    cache!.write('entry', contents);
    const kept = fs.readFileSync(join(directory, 'named', 'entry'));
    expect(kept.subarray(0, 32).equals(createHash('sha256').update(contents).digest())).toBe(true);
    expect(cache!.read('entry')).toEqual(Buffer.from(contents));
  });
});
