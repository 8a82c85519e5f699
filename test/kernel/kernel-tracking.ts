import { kernelTrackingObstacle } from '../../src/kernel/tracking-probe.ts';

const obstacle = kernelTrackingObstacle();

/** Whether the system can tell which pages a program wrote; where it cannot, tests say that they are left out. */
export const kernelTracks = obstacle === undefined;

if (!kernelTracks) console.log(`Left out, since the kernel cannot tell of writes here: ${obstacle}`);
