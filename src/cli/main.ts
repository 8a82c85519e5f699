#!/usr/bin/env node
import { prepareGuestWorker } from '../machine/guest-worker.ts';

// The guest's thread loads its modules while this one loads those of the command line and reads it.
if (['run', 'resume', 'restart'].includes(process.argv[2] ?? '')) prepareGuestWorker();
const { main } = await import('./command-line.ts');
process.exitCode = await main(process.argv.slice(2));
