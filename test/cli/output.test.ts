/** When output leaves: at once on a terminal, else when the checkpoint that covers it is durable; and when it cannot. */
import { spawn, spawnSync } from 'node:child_process';
import { closeSync, constants, openSync, readFileSync, readSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { RunningCommand, command, continuo, program, scratch, sleep } from './continuo.ts';
import {
  COPIES,
  LARGE_PIECE_BYTES,
  PRINTS_AT_ONCE,
  printsAndLoops,
  printsAndTraps,
  printsMuch,
  sleeps,
} from './guests.ts';

/** Waits until a condition holds; the test's own time limit ends a wait in vain. */
async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await sleep(5);
}

/** What a pipe holds that nobody writes to any more, a piece at most; nothing when it is empty. */
function readPiece(descriptor: number): Buffer {
  const piece = Buffer.alloc(65536);
  return piece.subarray(0, readSync(descriptor, piece));
}

/** What a pipe holds that is written to, a piece at most. */
function readWhatIsThere(descriptor: number): Buffer {
  try {
    return readPiece(descriptor);
  } catch (error) {
    expect(error).toMatchObject({ code: 'EAGAIN' });
    return Buffer.alloc(0);
  }
}

/** How many bytes of standard output a job has noted as having left; NaN while some are leaving. */
function notedBytes(job: string): number {
  const counts = readFileSync(join(job, 'output-released'));
  return counts.readUInt32LE(16) === 0 ? counts.readUInt32LE(0) : NaN;
}

describe('by default', () => {
  it('output into a pipe waits for the checkpoint that covers it', async () => {
    const folder = scratch();
    const path = program(folder, 'prints', printsAndLoops('a line'));
    const args = ['run', '--job', join(folder, 'job'), '--interval', 'none', '--verbose'];
    for (const { mode, before } of [
      { mode: [], before: '' },
      { mode: ['--output', 'immediate', '--fresh'], before: 'a line\n' },
    ]) {
      const running = new RunningCommand([...args, ...mode, path]);
      await running.waitFor('checkpoint 1 ');
      // Some time into its loop.
      await sleep(400);
      expect(running.stdout).toBe(before);
      running.kill('SIGUSR1');
      await running.waitFor('checkpoint 2 ');
      await until(() => running.stdout === 'a line\n');
      running.kill('SIGTERM');
      expect(await running.ended).toMatchObject({ exitCode: 85, stdout: 'a line\n' });
    }
  });

  // The command script, of util-linux, gives a terminal to the one and the pipe of this test to the other.
  it.runIf(process.platform === 'linux' && spawnSync('script', ['--version']).status === 0)(
    'each stream is looked at for itself',
    async () => {
      const folder = scratch();
      const path = program(folder, 'prints', printsAndLoops('a line'));
      const output = join(folder, 'output');
      const shown = join(folder, 'shown');
      const pidFile = join(folder, 'pid');
      const job = join(folder, 'job');
      writeFileSync(shown, '');
      const run = `echo $$ > ${pidFile}; exec ${process.execPath} ${command} run --job ${job} --interval none ${path} 2> ${output}`;
      const child = spawn('script', ['--quiet', '--flush', '--command', run, shown], { stdio: 'ignore' });
      await until(() => readFileSync(shown, 'utf8').includes('a line'));
      // Its line of standard error came before that of standard output, but nothing covers it yet.
      expect(readFileSync(output, 'utf8')).toBe('');
      process.kill(Number(readFileSync(pidFile, 'utf8')), 'SIGTERM');
      await new Promise((settle) => child.on('close', settle));
      expect(readFileSync(output, 'utf8')).toMatch(/^a line\ncontinuo: stopped at checkpoint 2; /);
    },
  );

  it('without a job output leaves at once', async () => {
    const path = program(scratch(), 'prints', printsAndLoops('a line'));
    const running = new RunningCommand(['run', path]);
    await until(() => running.stdout === 'a line\n');
    running.kill('SIGTERM');
    expect((await running.ended).exitCode).toBe(143);
  });
});

describe('held output', () => {
  it('leaves when the program waits for input, which may be an answer to it', async () => {
    const folder = scratch();
    const path = program(folder, 'copies', COPIES);
    const args = ['run', '--job', join(folder, 'job'), '--interval', 'none', path];
    const running = new RunningCommand(args, { pipe: true });
    await until(() => running.stdout === 'ready\n');
    running.write('first\n');
    await until(() => running.stdout === 'ready\nfirst\n');
    // We can see a line before the process has noted that it left; a kill between the two is in `faults/output-window.test.ts`.
    await until(() => notedBytes(join(folder, 'job')) === 'ready\nfirst\n'.length);
    running.kill('SIGKILL');
    await running.ended;
    // What was shown was covered: it is not shown again, and its input not asked for again.
    const { stdout, stderr } = await continuo(args, { input: 'second\n' });
    expect({ stdout, stderr }).toEqual({
      stdout: 'second\nend\n',
      stderr: expect.stringMatching(/^continuo: \S+ goes on from checkpoint \d+\n$/),
    });
  });

  it('leaves when the program sleeps', async () => {
    const folder = scratch();
    const path = program(folder, 'sleeps', sleeps(60_000));
    const running = new RunningCommand(['run', '--job', join(folder, 'job'), '--interval', 'none', path]);
    await until(() => running.stdout === 'asleep\n');
    running.kill('SIGTERM');
    expect((await running.ended).exitCode).toBe(85);
  });

  it('leaves before the message of a trap, and the next run says that it is shown again', async () => {
    const folder = scratch();
    const path = program(folder, 'traps', printsAndTraps('last words'));
    const args = ['run', '--job', join(folder, 'job'), path];
    const trap = 'continuo: the program trapped: unreachable\n    at _start\n';
    expect(await continuo(args)).toMatchObject({ exitCode: 134, stdout: 'last words\n', stderr: trap });
    const again = await continuo(args);
    expect(again).toMatchObject({ exitCode: 134, stdout: 'last words\n' });
    expect(again.stderr).toContain(
      '11 bytes of standard output that were written after the checkpoint are shown again\n',
    );
    // A file takes it back: it is there once.
    const output = join(folder, 'output');
    for (let run = 0; run < 3; run++) {
      const descriptor = openSync(output, 'a');
      const ended = await continuo(['run', '--job', join(folder, 'other'), path], { stdout: descriptor });
      closeSync(descriptor);
      expect(ended.exitCode).toBe(134);
      expect(ended.stderr.includes('11 bytes were cut from the end of the file')).toBe(run > 0);
    }
    expect(readFileSync(output, 'utf8')).toBe('last words\n');
  });

  it.runIf(process.platform === 'linux').each(['commit', 'immediate'])(
    'that nobody takes does not hold up a stop, and leaves with the next run: %s',
    async (mode) => {
      const folder = scratch();
      const job = join(folder, 'job');
      const pieces = 64;
      // More than a pipe takes, 64 KiB.
      const path = program(folder, 'much', printsMuch(pieces));
      const pipe = join(folder, 'pipe');
      expect(spawnSync('mkfifo', [pipe]).status).toBe(0);
      const reader = openSync(pipe, constants.O_RDONLY | constants.O_NONBLOCK);
      const writer = openSync(pipe, constants.O_WRONLY);
      const args = ['run', '--job', job, '--interval', 'none', '--output', mode, path];
      const running = new RunningCommand(args, { stdout: writer });
      closeSync(writer);
      const first: Buffer[] = [];
      try {
        await sleep(1500);
        const startMs = performance.now();
        running.kill('SIGTERM');
        expect((await running.ended).exitCode).toBe(85);
        expect(performance.now() - startMs).toBeLessThan(1000);
        for (let piece = readPiece(reader); piece.length > 0; piece = readPiece(reader)) first.push(piece);
      } finally {
        closeSync(reader);
      }
      const rest = await continuo(args);
      expect(rest.exitCode).toBe(0);
      const whole = Buffer.concat(first).toString() + rest.stdout;
      const wanted = Array.from({ length: pieces }, (_, k) => String.fromCharCode(48 + k).repeat(4096)).join('');
      expect([Buffer.concat(first).length, whole.length]).toEqual([65536, wanted.length]);
      // Not compared by the framework, which would print both.
      expect(whole === wanted).toBe(true);
    },
  );

  it.runIf(process.platform === 'linux').each([[[]], [['--memory', '16p']]])(
    'a call that writes more than a pipe takes writes all of it, through checkpoints and stops %s',
    async (memory) => {
      const folder = scratch();
      const path = program(folder, 'at-once', PRINTS_AT_ONCE);
      const pipe = join(folder, 'pipe');
      expect(spawnSync('mkfifo', [pipe]).status).toBe(0);
      const args = ['run', '--job', join(folder, 'job'), '--interval', '5ms', '--output', 'immediate', '--verbose'];
      const taken: Buffer[] = [];
      for (let life = 0; ; life++) {
        const reader = openSync(pipe, constants.O_RDONLY | constants.O_NONBLOCK);
        const writer = openSync(pipe, constants.O_WRONLY);
        const running = new RunningCommand([...args, ...memory, path], { stdout: writer });
        closeSync(writer);
        try {
          const isDone = { value: false };
          void running.ended.then(() => (isDone.value = true));
          // Two pieces a life, with checkpoints in between, then a stop that finds the pipe full.
          for (let pieces = 0; life >= 3 || pieces < 2;) {
            const piece = isDone.value ? Buffer.alloc(0) : readWhatIsThere(reader);
            if (piece.length > 0) pieces += 1;
            taken.push(piece);
            if (isDone.value) break;
            await sleep(life >= 3 ? 2 : 20);
          }
          running.kill('SIGTERM');
          const { exitCode, stderr } = await running.ended;
          for (let piece = readPiece(reader); piece.length > 0; piece = readPiece(reader)) taken.push(piece);
          if (exitCode === 0) break;
          expect({ exitCode, stderr }).toMatchObject({ exitCode: 85 });
        } finally {
          closeSync(reader);
        }
      }
      const wanted = ['A', 'B', 'C'].map((letter) => letter.repeat(LARGE_PIECE_BYTES)).join('');
      const whole = Buffer.concat(taken).toString();
      expect(whole.length).toBe(wanted.length);
      expect(whole === wanted).toBe(true);
    },
  );

  it('may be let out at once by the next run, and the other way round', async () => {
    const folder = scratch();
    const path = program(folder, 'copies', COPIES);
    const job = join(folder, 'job');
    let output = '';
    for (const mode of ['commit', 'immediate', 'commit']) {
      const running = new RunningCommand(['run', '--job', job, '--interval', 'none', '--output', mode, path], {
        pipe: true,
      });
      if (output !== '') await running.waitFor('goes on from');
      else await until(() => running.stdout !== '');
      running.write(`${mode}\n`);
      await until(() => running.stdout.endsWith(`${mode}\n`));
      running.kill('SIGTERM');
      output += (await running.ended).stdout;
    }
    expect(output).toBe('ready\ncommit\nimmediate\ncommit\n');
  });
});
