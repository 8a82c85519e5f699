/** The probes of `continuo doctor`: each tries a thing out, on memory and files of no use, and says what it found. */
import { readFileSync, statfsSync } from 'node:fs';
import { availableParallelism, cpus, release } from 'node:os';
import { join } from 'node:path';
import { measureSync, TRIES } from '../device/sync-time.ts';
import { kernelPagingObstacle } from '../kernel/paging-probe.ts';
import { type KernelFeatures, probeKernelFeatures } from '../kernel/feature-probes.ts';
import { pageGuardObstacle } from '../kernel/page-guard-probe.ts';
import { kernelProtectionObstacle } from '../kernel/protection-probe.ts';
import { kernelTrackingObstacle } from '../kernel/tracking-probe.ts';
import { hasExceptionsByReference, hasNonNullReferences } from '../machine/engine-features.ts';
import { GuestMemory } from '../memory/guest-memory.ts';
import { createRelease } from '../memory/memory-release.ts';
import { durationText } from '../report/number-text.ts';

/** One thing that Continuo can make use of. */
export interface Probe {
  readonly group: string;
  readonly name: string;
  /** What Continuo does with it. */
  readonly purpose: string;
  readonly works: boolean;
  /** What was found here. */
  readonly found: string;
  /** What to do to have it; undefined where it works. */
  readonly advice?: string;
}

type Ungrouped = Omit<Probe, 'group'>;

const NODE_MIN = [20, 19];
const NO_ADVICE = 'nothing can be done on this system; Continuo does without';

/** Magic numbers of statfs(2). */
const FILE_SYSTEMS: Readonly<Record<number, string>> = {
  0xef53: 'ext4',
  0x58465342: 'xfs',
  0x9123683e: 'btrfs',
  0x01021994: 'tmpfs',
  0x858458f6: 'ramfs',
  0x794c7630: 'overlayfs',
  0x6969: 'nfs',
  0x65735546: 'fuse',
  0x01021997: '9p',
  0x2fc12fc1: 'zfs',
  0xf2f52010: 'f2fs',
  0xff534d42: 'cifs',
  0xfe534d42: 'smb2',
};
const IN_MEMORY: readonly string[] = ['tmpfs', 'ramfs'];

export function examineMachine(directory: string): Probe[] {
  const features = probeKernelFeatures();
  const groups: Readonly<Record<string, readonly Ungrouped[]>> = {
    engine: engineProbes(),
    'written pages': trackingProbes(features),
    'budget of memory': pagingProbes(features),
    machine: machineProbes(directory),
  };
  return Object.entries(groups).flatMap(([group, probes]) => probes.map((probe) => ({ group, ...probe })));
}

function engineProbes(): Ungrouped[] {
  const [major, minor] = process.versions.node.split('.').map(Number);
  const isNew = major > NODE_MIN[0] || (major === NODE_MIN[0] && minor >= NODE_MIN[1]);
  const newer = 'use Node.js 24 or later';
  return [
    {
      name: 'Node.js',
      purpose: 'everything',
      found: `${process.version} with V8 ${process.versions.v8}`,
      ...worksUnless(isNew ? undefined : '', `use Node.js ${NODE_MIN.join('.')} or later`),
    },
    {
      name: 'exceptions by reference',
      purpose: 'programs with exceptions in their newer form (exnref)',
      ...result(hasExceptionsByReference() ? undefined : 'this Node.js does not have them', newer),
    },
    {
      name: 'ref.as_non_null',
      purpose: 'programs with typed function references',
      ...result(hasNonNullReferences() ? undefined : 'this Node.js does not have it', newer),
    },
  ];
}

function trackingProbes(features: KernelFeatures): Ungrouped[] {
  const sandbox = 'let the sandbox or container allow the call userfaultfd, or use a Linux that has it';
  const newer = (version: string): string => `use Linux ${version} or later`;
  return [
    {
      name: 'koffi',
      purpose: "calls of the system: all of the kernel's help below",
      ...result(features.calls, process.platform === 'linux' ? 'npm install koffi' : NO_ADVICE),
    },
    {
      name: 'userfaultfd, faults of programs',
      purpose: 'the tracker of the kernel',
      ...result(features.userFaults, koffiFirst(features, sandbox)),
    },
    {
      name: 'userfaultfd, WP_ASYNC',
      purpose: 'the tracker of the kernel: written pages are noted without a stop',
      ...result(features.asynchronousProtection, koffiFirst(features, newer('6.7'))),
    },
    {
      name: 'PAGEMAP_SCAN',
      purpose: 'the tracker of the kernel: all written pages in one call',
      ...result(features.pagemapScan, koffiFirst(features, newer('6.7'))),
    },
    {
      name: '--tracker kernel',
      purpose: 'programs without marks in their code, where it is asked for',
      ...result(kernelTrackingObstacle(), 'see above; marks in the code work everywhere'),
    },
    {
      name: 'userfaultfd, WP',
      purpose: 'first writes that are told before they are made',
      ...result(features.protection, koffiFirst(features, newer('6.7'))),
    },
    {
      name: '--tracker kernel, first writes',
      purpose: '--policy incremental and --fork with no checks in the code of the program, where it is asked for',
      ...result(kernelProtectionObstacle(), 'see above; checks in the code work everywhere'),
    },
    {
      name: '--tracker mprotect',
      purpose: 'the same by mprotect and a handler of SIGSEGV, where it is asked for: to compare what faults cost',
      ...result(
        pageGuardObstacle(),
        koffiFirst(
          features,
          'install a C compiler (cc), then "npm rebuild continuo" where it is installed, "npm run build" in its sources',
        ),
      ),
    },
  ];
}

function pagingProbes(features: KernelFeatures): Ungrouped[] {
  const rights =
    'sudo sysctl vm.unprivileged_userfaultfd=1, or run as root or with the capability CAP_SYS_PTRACE; a container must allow the call, too';
  const memory = GuestMemory.withoutGuest();
  const { reason } = createRelease(memory);
  return [
    {
      name: 'userfaultfd, all faults',
      purpose: 'paging by the kernel: absent pages are brought when they are touched (MISSING)',
      ...result(features.allFaults, koffiFirst(features, rights)),
    },
    {
      name: 'userfaultfd, MOVE',
      purpose: 'paging by the kernel: pages leave without a copy',
      ...result(features.move, koffiFirst(features, 'use Linux 6.8 or later')),
    },
    {
      name: '--tracker kernel --memory',
      purpose: 'programs with a budget of memory and no checks in their code',
      ...result(kernelPagingObstacle(), 'see above; checks in the code work everywhere'),
    },
    {
      name: 'release of memory',
      purpose: '--memory: the memory of pages that have left is given back',
      ...result(reason === '' ? undefined : reason, koffiFirst(features, NO_ADVICE)),
    },
    hugePages(),
  ];
}

function hugePages(): Ungrouped {
  const name = 'huge pages';
  const purpose = 'other programs; memory that the kernel tracks or pages has small ones, each known by itself';
  try {
    const text = readFileSync('/sys/kernel/mm/transparent_hugepage/enabled', 'utf8');
    return { name, purpose, works: true, found: `programs ${describeHuge(/\[(\w+)\]/.exec(text)?.[1])}` };
  } catch {
    return { name, purpose, works: true, found: 'this system has none, or does not tell' };
  }
}

function describeHuge(setting: string | undefined): string {
  if (setting === 'always') return 'get them unasked (always)';
  return setting === 'madvise' ? 'get them if they ask (madvise)' : `get none (${setting ?? 'unknown'})`;
}

function machineProbes(directory: string): Ungrouped[] {
  const cores = availableParallelism();
  return [
    {
      name: 'processors',
      purpose: '--fork, which saves a checkpoint on one while the program runs on another',
      found: `${cores} (${cpus()[0]?.model.trim() || process.arch}), ${process.platform} ${release()}`,
      ...worksUnless(cores > 1 ? undefined : '', 'give this machine another processor; --fork gains nothing without'),
    },
    fileSystemProbe(directory),
    {
      name: 'terminal',
      purpose: 'the bar of a program that tells how far it has come',
      ...result(process.stderr.isTTY ? undefined : 'standard error is none', 'run it in a terminal, without 2>'),
    },
  ];
}

/** A checkpoint waits for one sync: its time is the least that one takes. */
function fileSystemProbe(directory: string): Ungrouped {
  const name = 'file system';
  const purpose = `job directories in ${directory}: a checkpoint waits for one fdatasync`;
  try {
    const syncMs = measureSync(join(directory, `.continuo-doctor-${process.pid}`));
    const type = statfsSync(directory).type >>> 0;
    const kind = FILE_SYSTEMS[type] ?? `type 0x${type.toString(16)}`;
    const found = `${kind}, ${durationText(syncMs)} for a page (median of ${TRIES})`;
    const isLost = IN_MEMORY.includes(kind) ? '' : undefined;
    return { name, purpose, found, ...worksUnless(isLost, 'keep jobs on a disk: this one is lost with the power') };
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    return { name, purpose, works: false, found: reason, advice: 'keep jobs in a directory that can be written' };
  }
}

/** Where the system cannot be called, that is what there is to change first. */
function koffiFirst({ calls }: KernelFeatures, advice: string): string {
  if (calls === undefined) return advice;
  return process.platform === 'linux' ? 'npm install koffi' : NO_ADVICE;
}

function result(obstacle: string | undefined, advice: string): Pick<Probe, 'works' | 'found' | 'advice'> {
  return { found: obstacle ?? 'works', ...worksUnless(obstacle, advice) };
}

function worksUnless(obstacle: string | undefined, advice: string): Pick<Probe, 'works' | 'advice'> {
  return obstacle === undefined ? { works: true } : { works: false, advice };
}

export function printProbes(probes: readonly Probe[]): string {
  const width = Math.max(...probes.map(({ name }) => name.length)) + 2;
  const indent = ' '.repeat(width + 7);
  const lines = probes.flatMap(({ group, name, purpose, works, found, advice }, index) => [
    ...(group === probes[index - 1]?.group ? [] : [`${index === 0 ? '' : '\n'}${group}`]),
    `  ${works ? 'yes' : 'no '}  ${name.padEnd(width)}${found}`,
    `${indent}for ${purpose}`,
    ...(advice === undefined ? [] : [`${indent}to have it: ${advice}`]),
  ]);
  const lacking = probes.filter(({ works }) => !works).length;
  const summary =
    lacking === 0
      ? 'All of it works here.'
      : `${probes.length - lacking} of ${probes.length} work here; programs run in any case.`;
  return `${lines.join('\n')}\n\n${summary}\n`;
}
