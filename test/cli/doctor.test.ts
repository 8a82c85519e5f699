/** `continuo doctor` tells what works, what it is for, and what to do: checked against what runs then do. */
import { spawnSync } from 'node:child_process';
import { chmodSync, chownSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { kernelPagingObstacle } from '../../src/kernel/paging-probe.ts';
import { kernelTrackingObstacle } from '../../src/kernel/tracking-probe.ts';
import { pageGuardObstacle } from '../../src/kernel/page-guard-probe.ts';
import { command, continuo, root, scratch } from './continuo.ts';

interface Probe {
  readonly group: string;
  readonly name: string;
  readonly purpose: string;
  readonly works: boolean;
  readonly found: string;
  readonly advice?: string;
}

const parse = (stdout: string): Probe[] => (JSON.parse(stdout) as { probes: Probe[] }).probes;
const find = (probes: readonly Probe[], name: string): Probe => probes.find((probe) => probe.name === name)!;

describe('continuo doctor', () => {
  it('has a purpose for each thing, and advice for each that does not work', async () => {
    const folder = scratch();
    const { exitCode, stdout, stderr } = await continuo(['doctor', '--json'], { cwd: folder });
    expect({ exitCode, stderr }).toEqual({ exitCode: 0, stderr: '' });
    const probes = parse(stdout);
    expect(new Set(probes.map(({ name }) => name)).size).toBe(probes.length);
    expect(probes.length).toBeGreaterThan(14);
    for (const probe of probes) {
      expect(probe.purpose.length, probe.name).toBeGreaterThan(5);
      expect(probe.found, probe.name).not.toBe('');
      expect((probe.advice ?? '').length > 5, probe.name).toBe(!probe.works);
    }
    expect(find(probes, 'Node.js')).toMatchObject({ works: true, found: expect.stringContaining(process.version) });
    expect(find(probes, '--tracker kernel').works).toBe(kernelTrackingObstacle() === undefined);
    expect(find(probes, '--tracker kernel --memory').works).toBe(kernelPagingObstacle() === undefined);
    expect(find(probes, '--tracker mprotect').works).toBe(pageGuardObstacle() === undefined);
    expect(find(probes, 'file system').found).toMatch(/(µs|ms| s) for a page \(median of 20\)$/);
    expect(readdirSync(folder), 'what it tried out is removed').toEqual([]);
  });

  it('says the same as text', async () => {
    const folder = scratch();
    const [text, json] = await Promise.all([
      continuo(['doctor'], { cwd: folder }),
      continuo(['doctor', '--json'], { cwd: folder }),
    ]);
    expect(text.exitCode).toBe(0);
    for (const { name, works, purpose, advice } of parse(json.stdout)) {
      expect(text.stdout).toMatch(new RegExp(`^  ${works ? 'yes' : 'no '}  ${name.replaceAll('.', '\\.')} `, 'm'));
      expect(text.stdout).toContain(`for ${purpose}`);
      if (advice !== undefined) expect(text.stdout).toContain(`to have it: ${advice}`);
    }
  });

  it('names koffi where that is what is missing', async () => {
    const without = join(import.meta.dirname, '..', 'kernel', 'without-koffi.cjs');
    const { exitCode, stdout } = await continuo(['doctor', '--json'], {
      env: { NODE_OPTIONS: `--require ${without}` },
    });
    expect(exitCode).toBe(0);
    for (const name of [
      'koffi',
      'userfaultfd, faults of programs',
      'PAGEMAP_SCAN',
      '--tracker kernel',
      '--tracker mprotect',
    ]) {
      const probe = find(parse(stdout), name);
      expect(probe, name).toMatchObject({ works: false });
      if (process.platform === 'linux') expect(`${probe.found} ${probe.advice}`).toContain('koffi');
    }
  });

  it('tells a user without rights what needs one', ({ skip }) => {
    if (process.getuid?.() !== 0) skip('only root can run the command as somebody else');
    const folder = scratch();
    chmodSync(folder, 0o700);
    chownSync(folder, 65534, 65534);
    const { status, stdout, stderr } = spawnSync(process.execPath, [command, 'doctor', '--json'], {
      cwd: folder,
      uid: 65534,
      gid: 65534,
      encoding: 'utf8',
    });
    if (/Cannot find module|permission denied/i.test(stderr)) skip(`${root} cannot be read by other users`);
    expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
    const probes = parse(stdout);
    expect(find(probes, '--tracker kernel').works).toBe(kernelTrackingObstacle() === undefined);
    const all = find(probes, 'userfaultfd, all faults');
    if (all.works) return;
    expect(all.advice).toMatch(/vm\.unprivileged_userfaultfd=1|koffi/);
    expect(find(probes, '--tracker kernel --memory').works).toBe(false);
  });
});
