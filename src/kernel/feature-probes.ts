/** What the kernel allows this process, one thing at a time: for people who want to know what to change. */
import { PAGE_BYTES } from '../memory/layout.ts';
import { put } from './user-faults.ts';
import {
  FEATURE_MOVE,
  FEATURE_WP_ASYNC,
  O_CLOEXEC_NONBLOCK,
  O_RDONLY_CLOEXEC,
  PAGEMAP_SCAN,
  SCAN_WORDS,
  SYS_USERFAULTFD,
  UFFDIO_API,
  UFFD_API,
  USER_MODE_ONLY,
  callsOfThisSystem,
  refusalText,
} from './write-watch.ts';

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
  readonly pagemapScan: string | undefined;
  /** Pages are moved instead of copied: Linux 6.8. */
  readonly move: string | undefined;
}

type Calls = ReturnType<typeof callsOfThisSystem>;

export function probeKernelFeatures(): KernelFeatures {
  let calls: Calls;
  try {
    calls = callsOfThisSystem();
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    return {
      calls: reason,
      userFaults: reason,
      allFaults: reason,
      asynchronousProtection: reason,
      pagemapScan: reason,
      move: reason,
    };
  }
  const user = openUserFaults(calls, USER_MODE_ONLY);
  const all = openUserFaults(calls, 0);
  const lacks = (feature: number, version: string): string | undefined =>
    user.obstacle ?? ((user.features & feature) === 0 ? `the kernel lacks it, Linux ${version} has it` : undefined);
  return {
    calls: undefined,
    userFaults: user.obstacle,
    allFaults: all.obstacle,
    asynchronousProtection: lacks(FEATURE_WP_ASYNC, '6.7'),
    pagemapScan: pagemapScanObstacle(calls),
    move: lacks(FEATURE_MOVE, '6.8'),
  };
}

/** Opens and closes it; what it can do, as the first 32 bits that the kernel tells. */
function openUserFaults(calls: Calls, flags: number): { obstacle: string | undefined; features: number } {
  const descriptor = Number(calls.syscall(SYS_USERFAULTFD[process.arch], O_CLOEXEC_NONBLOCK | flags, 0, 0));
  if (descriptor < 0) return { obstacle: refusalText('userfaultfd', calls.errno()), features: 0 };
  const api = new Uint32Array(6);
  put(api, 0, UFFD_API);
  const isRefused = Number(calls.ioctl(descriptor, UFFDIO_API, api)) < 0;
  const obstacle = isRefused ? refusalText('UFFDIO_API', calls.errno()) : undefined;
  calls.close(descriptor);
  return { obstacle, features: api[2] };
}

function pagemapScanObstacle(calls: Calls): string | undefined {
  const pagemap = Number(calls.open('/proc/self/pagemap', O_RDONLY_CLOEXEC));
  if (pagemap < 0) return refusalText('/proc/self/pagemap', calls.errno());
  const bytes = new Uint8Array(new WebAssembly.Memory({ initial: 1, maximum: 1, shared: true }).buffer);
  const address = Number(calls.move(bytes, bytes, 0));
  const scan = new Uint32Array(SCAN_WORDS);
  put(scan, 0, 4 * SCAN_WORDS);
  put(scan, 4, address);
  put(scan, 6, address + PAGE_BYTES);
  const isRefused = Number(calls.ioctl(pagemap, PAGEMAP_SCAN, scan)) < 0;
  const obstacle = isRefused ? refusalText('PAGEMAP_SCAN', calls.errno()) : undefined;
  calls.close(pagemap);
  return obstacle;
}
