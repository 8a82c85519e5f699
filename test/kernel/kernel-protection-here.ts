import { kernelProtectionObstacle } from '../../src/kernel/protection-probe.ts';

const obstacle = kernelProtectionObstacle();

/** Whether the kernel stops programs here at first writes to pages. */
export const kernelProtects = obstacle === undefined;

if (!kernelProtects) console.log(`Left out, since the kernel does not stop programs at first writes here: ${obstacle}`);
