/** The probes of `continuo doctor`: each tries a thing out, on memory and files of no use, and says what it found. */
import { readFileSync, statfsSync } from 'node:fs';
import { availableParallelism, release, totalmem } from 'node:os';
import { join } from 'node:path';
import { measureSync } from '../device/sync-time.ts';
import { libraryCalls } from '../kernel/c-library.ts';
import { kernelPagingObstacle } from '../kernel/paging-probe.ts';
import { kernelTrackingObstacle } from '../kernel/tracking-probe.ts';
import { openUffd, UffdFeature, type UffdWay } from '../kernel/write-notes.ts';
import { hasExceptionsByReference } from '../machine/engine-features.ts';
import { GuestMemory } from '../memory/guest-memory.ts';
import { createRelease } from '../memory/memory-release.ts';

export interface Finding {
  readonly name: string;
  /** `null`: a fact, which neither works nor fails. */
  readonly works: boolean | null;
  readonly found: string;
  /** What to do to enable it. */
  readonly advice?: string;
}

const RIGHT_ADVICE =
  'run as root or with CAP_SYS_PTRACE, set vm.unprivileged_userfaultfd=1 by sysctl, or give access to the device userfaultfd; in a container, allow the system call userfaultfd';
const KERNEL_ADVICE = 'use Linux 6.7 or later; in a container, allow the system call userfaultfd';

/** Names of file systems by the number that statfs(2) gives. */
const FILE_SYSTEMS: Readonly<Record<number, string>> = {
  0xef53: 'ext4',
  0x01021994: 'tmpfs',
  0x58465342: 'xfs',
  0x9123683e: 'btrfs',
  0x794c7630: 'overlayfs',
  0x6969: 'nfs',
  0x2fc12fc1: 'zfs',
  0xf2f52010: 'f2fs',
};

export function examineMachine(directory: string): Finding[] {
  const koffi = outcome(libraryCalls);
  const hasKoffi = koffi === undefined;
  return [
    fact('Node.js', `${process.version}, V8 ${process.versions.v8}`),
    fact('system', `${process.platform} ${release()} ${process.arch}`),
    fact('processors', String(availableParallelism())),
    fact('memory', `${(totalmem() / 2 ** 30).toFixed(1)} GB`),
    probe(
      'exceptions by reference (exnref)',
      hasExceptionsByReference() ? undefined : 'this Node.js does not have them',
      'use Node.js 24 or later for programs that need them',
    ),
    probe('koffi', koffi, 'install the optional package koffi, without --omit=optional'),
    ...(process.platform === 'linux' && hasKoffi ? examineUserfaultfd() : []),
    probe('written pages told by the kernel (--tracker kernel)', kernelTrackingObstacle(), KERNEL_ADVICE),
    probe('paging by the kernel (--tracker kernel --memory)', kernelPagingObstacle(), RIGHT_ADVICE),
    probe(
      'memory of absent pages given back (--memory)',
      createRelease(GuestMemory.withoutGuest()).reason || undefined,
      'install the optional package koffi',
    ),
    ...examineFiles(directory),
  ];
}

function examineUserfaultfd(): Finding[] {
  const ways: readonly [name: string, way: UffdWay, features: number, advice: string][] = [
    ['userfaultfd in user mode', 'user-mode', 0, KERNEL_ADVICE],
    [
      'asynchronous write protection',
      'user-mode',
      UffdFeature.pagefaultFlagWp | UffdFeature.wpUnpopulated | UffdFeature.wpAsync,
      KERNEL_ADVICE,
    ],
    ['userfaultfd for faults of the system', 'privileged', 0, RIGHT_ADVICE],
    ['the device userfaultfd', 'device', 0, RIGHT_ADVICE],
  ];
  const findings = ways.map(([name, way, features, advice]) =>
    probe(
      name,
      outcome(() => libraryCalls().close(openUffd(way, features))),
      advice,
    ),
  );
  for (const [name, path] of [
    ['vm.unprivileged_userfaultfd', '/proc/sys/vm/unprivileged_userfaultfd'],
    ['transparent huge pages', '/sys/kernel/mm/transparent_hugepage/enabled'],
  ]) {
    findings.push(fact(name, readSetting(path)));
  }
  return findings;
}

function examineFiles(directory: string): Finding[] {
  const { type } = statfsSync(directory);
  const kind = FILE_SYSTEMS[type] ?? `type 0x${type.toString(16)}`;
  const findings = [fact('file system of this directory', kind)];
  try {
    const ms = measureSync(join(directory, `.continuo-doctor-${process.pid}`));
    findings.push(fact('a page made durable there (fdatasync)', `${ms.toFixed(2)} ms`));
  } catch (error) {
    findings.push(
      probe('a page made durable there (fdatasync)', messageOf(error), 'keep jobs in a directory of yours'),
    );
  }
  return findings;
}

function fact(name: string, found: string): Finding {
  return { name, works: null, found };
}

function probe(name: string, obstacle: string | undefined, advice: string): Finding {
  return obstacle === undefined
    ? { name, works: true, found: 'works' }
    : { name, works: false, found: obstacle, advice };
}

/** Why it fails, in a line; undefined: it does not. */
function outcome(attempt: () => unknown): string | undefined {
  try {
    attempt();
    return undefined;
  } catch (error) {
    return messageOf(error);
  }
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message.split('\n', 1)[0] : String(error);
}

function readSetting(path: string): string {
  const text = outcome(() => readFileSync(path, 'utf8'));
  return text ?? readFileSync(path, 'utf8').trim();
}

export function printFindings(findings: readonly Finding[]): string {
  const width = Math.max(...findings.map(({ name }) => name.length));
  const lines = findings.flatMap(({ name, works, found, advice }) => {
    const mark = works === null ? ' ' : works ? '+' : '-';
    const line = `${mark} ${name.padEnd(width)}  ${found}`;
    return advice === undefined ? [line] : [line, `  ${''.padEnd(width)}  ${advice}`];
  });
  return `${lines.join('\n')}\n`;
}
