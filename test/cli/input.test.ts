/** Input of a pipe that several runs of a job read one after the other: each byte goes to the program once. */
import { spawn, spawnSync } from 'node:child_process';
import { closeSync, constants, openSync, readFileSync, statSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { command, program, scratch, sleep } from './continuo.ts';
import { COPIES } from './guests.ts';

const lengthOf = (path: string): number => statSync(path, { throwIfNoEntry: false })?.size ?? 0;

it.runIf(process.platform === 'linux')(
  'input that flows while a job is stopped again and again is read once',
  async () => {
    const folder = scratch();
    const pipe = join(folder, 'pipe');
    expect(spawnSync('mkfifo', [pipe]).status).toBe(0);
    // Open for both, so that neither open waits and the pipe outlives each run.
    const end = openSync(pipe, constants.O_RDWR);
    const path = program(folder, 'copies', COPIES);
    const output = join(folder, 'output');
    const args = [
      command,
      'run',
      '--job',
      join(folder, 'job'),
      '--stdout',
      output,
      '--interval',
      'none',
      '--quiet',
      path,
    ];
    let written = '';
    try {
      let number = 0;
      for (let run = 0; run < 6; run++) {
        const input = openSync(pipe, constants.O_RDONLY | constants.O_NONBLOCK);
        const child = spawn(process.execPath, args, { stdio: [input, 'ignore', 'inherit'] });
        closeSync(input);
        const exited = new Promise<number | null>((settle) => child.on('exit', settle));
        let isOver = false;
        void exited.then(() => (isOver = true));
        const lengthBefore = lengthOf(output);
        let stopMs = Infinity;
        let isStopped = false;
        // Less than a pipe takes, even while nobody reads.
        while (!isOver) {
          const line = `${number++}\n`;
          writeSync(end, line);
          written += line;
          // It runs when it has written; before, a signal would end a process that does not know of signals yet.
          if (stopMs === Infinity && lengthOf(output) > lengthBefore) stopMs = performance.now() + 100 + 50 * run;
          if (!isStopped && performance.now() > stopMs) {
            child.kill('SIGTERM');
            isStopped = true;
          }
          await sleep(0);
        }
        expect(await exited).toBe(85);
      }
      const last = spawn(process.execPath, args, {
        stdio: [openSync(pipe, constants.O_RDONLY | constants.O_NONBLOCK), 'ignore', 'inherit'],
      });
      const ended = new Promise<number | null>((settle) => last.on('exit', settle));
      // What was lost would never come: waiting for it ends, and the comparison tells.
      for (
        let turn = 0;
        turn < 500 && readFileSync(output, 'utf8').length < written.length + 'ready\n'.length;
        turn++
      ) {
        await sleep(20);
      }
      last.kill('SIGTERM');
      expect(await ended).toBe(85);
    } finally {
      closeSync(end);
    }
    expect(readFileSync(output, 'utf8')).toBe(`ready\n${written}`);
  },
);
