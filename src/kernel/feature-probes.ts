/** What the kernel allows this process, one thing at a time: for people who want to know what to change. */
import { libraryCalls, mapPages, SystemRefusal, unmapPages } from './c-library.ts';
import { PagemapScan } from './pagemap-scan.ts';
import { openUffd, UffdFeature, type UffdWay } from './uffd.ts';

const PAGE_BYTES = 4096;

/** Each is why it does not work, for people; undefined: it works. */
export interface KernelFeatures {
  /** Calling the system at all: the package `koffi`. */
  readonly calls: string | undefined;
  /** userfaultfd for faults of programs, which needs no right. */
  readonly userFaults: string | undefined;
  /** userfaultfd for faults of the system's own calls, too, which needs one. */
  readonly allFaults: string | undefined;
  /** Writes to protected pages are let through and noted: Linux 6.7. */
  readonly asynchronousProtection: string | undefined;
  /** A program is stopped at its first write to a protected page, and another thread is told. Tried out by a scan: Linux 6.7. */
  readonly protection: string | undefined;
  readonly pagemapScan: string | undefined;
  /** Pages are moved instead of copied: Linux 6.8. */
  readonly move: string | undefined;
}

export function probeKernelFeatures(): KernelFeatures {
  const calls = obstacleOf(() => {
    libraryCalls();
  });
  const uffd = (way: UffdWay, features = 0): string | undefined =>
    calls ??
    obstacleOf(() => {
      libraryCalls().close(openUffd(way, features));
    });
  return {
    calls,
    userFaults: uffd('user-mode'),
    allFaults: uffd('privileged'),
    asynchronousProtection: uffd('user-mode', UffdFeature.wpAsync | UffdFeature.wpUnpopulated),
    protection: uffd('user-mode', UffdFeature.pagefaultFlagWp | UffdFeature.wpUnpopulated),
    pagemapScan: calls ?? obstacleOf(scanPage),
    move: uffd('user-mode', UffdFeature.move),
  };
}

function scanPage(): void {
  const at = mapPages(PAGE_BYTES);
  try {
    const scan = new PagemapScan(1);
    try {
      scan.addUsed(at, 0, 1);
    } finally {
      scan.close();
    }
  } finally {
    unmapPages(at, PAGE_BYTES);
  }
}

function obstacleOf(tryOut: () => void): string | undefined {
  if (process.platform !== 'linux') return `there is no way for it on ${process.platform}`;
  try {
    tryOut();
    return undefined;
  } catch (error) {
    if (error instanceof SystemRefusal) return error.message;
    const cause = error instanceof Error ? error.message.split('\n', 1)[0] : String(error);
    return `the package koffi cannot be used (${cause})`;
  }
}
