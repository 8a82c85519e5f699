import { pageGuardObstacle } from '../../src/kernel/page-guard-probe.ts';

const obstacle = pageGuardObstacle();

/** Whether first writes to pages can be found here by mprotect and a handler of SIGSEGV. */
export const guardsPages = obstacle === undefined;

if (!guardsPages) console.log(`Left out, since first writes cannot be found by mprotect here: ${obstacle}`);
