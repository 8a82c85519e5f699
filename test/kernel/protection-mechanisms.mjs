// The protection of a memory, by the kernel's thread or by the handler of signals, for scripts that play a guest.
import assert from 'node:assert/strict';
import { instantiateKernels } from '../../dist/format/page-kernels.js';
import { PagerLink } from '../../dist/machine/pager-link.js';
import { PagerWorker } from '../../dist/machine/pager-worker.js';
import { ProtectedPages } from '../../dist/machine/protected-pages.js';
import { SignalProtection } from '../../dist/machine/signal-protection.js';
import { ThreadProtection } from '../../dist/machine/thread-protection.js';
import { PAGES_PER_WASM_PAGE } from '../../dist/memory/layout.js';

/** `tracker`: `kernel` or `mprotect`, whose mappings may be bounded. Returns the pages, what they told, and how to end it. */
export function protect(tracker, memory, { wasmPagesMax, knowsAll, mappingsMax }) {
  const kernels = instantiateKernels(memory.memory);
  const guest = { memory, kernels, pagesMax: wasmPagesMax * PAGES_PER_WASM_PAGE };
  const options = { knowsAll, loadsPages: false };
  const notices = [];
  if (tracker === 'mprotect') {
    const mechanism = new SignalProtection(guest, (text) => notices.push(text), mappingsMax);
    const pages = new ProtectedPages(mechanism, guest, options);
    return { pages, notices, end: () => pages.close() };
  }
  const worker = new PagerWorker(
    () => {},
    (error) => assert.fail(error),
  );
  const pages = new ProtectedPages(new ThreadProtection(new PagerLink(worker.link), guest), guest, options);
  const end = () => {
    pages.close();
    worker.stop();
  };
  return { pages, notices, end };
}
