/**
 * Shows in some 20 s what Continuo does: a program is killed half-way, the same command goes on from its last
 * checkpoint, and the result is that of a run nobody disturbed. Exit code 1 when it is not.
 *
 *   node scripts/demo.mjs [SIZE]     (SIZE of the apsp workload, 1500 when not given)
 */
import { spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));
const command = join(root, 'dist', 'command', 'main.js');
const program = join(root, 'dist', 'workloads', 'apsp.wasm');
const size = process.argv[2] ?? '1500';
const seed = '1';

class DemoFailure extends Error {}

/**
 * Runs `continuo` to its end, or kills it after a time.
 *
 * @param {string[]} args
 * @param {number} [killAfterMs]
 * @returns {Promise<{ stdout: string, ms: number, killed: boolean }>}
 */
function continuo(args, killAfterMs) {
  const shown = args.map((arg) => (arg === program ? relative(root, program) : arg)).join(' ');
  console.log(`\n$ continuo ${shown}`);
  return new Promise((resolve, reject) => {
    const start = performance.now();
    const child = spawn(process.execPath, [command, ...args], { cwd: root, stdio: ['ignore', 'pipe', 'inherit'] });
    const timer = killAfterMs === undefined ? undefined : setTimeout(() => child.kill('SIGKILL'), killAfterMs);
    let stdout = '';
    child.stdout.setEncoding('utf8').on('data', (text) => {
      stdout += text;
      process.stdout.write(text);
    });
    child.on('error', reject);
    child.on('close', (code, signal) => {
      clearTimeout(timer);
      const ms = performance.now() - start;
      const killed = timer !== undefined && signal === 'SIGKILL';
      if (killed || code === 0) resolve({ stdout, ms, killed });
      else reject(new DemoFailure(`continuo ended with ${signal ?? `exit code ${code}`}.`));
    });
  });
}

const seconds = (ms) => `${(ms / 1000).toFixed(1)} s`;

function checkpointsOf(statsPath) {
  const { checkpoints } = JSON.parse(readFileSync(statsPath, 'utf8'));
  if (!Array.isArray(checkpoints)) throw new DemoFailure(`${statsPath} holds no list of checkpoints.`);
  return checkpoints;
}

async function demo(folder) {
  const job = join(folder, 'job');
  const stats = join(folder, 'stats.json');
  console.log(`All shortest paths between ${size} nodes: first without interruption, and without checkpoints.`);
  const whole = await continuo(['run', program, size, seed]);
  console.log(`  … took ${seconds(whole.ms)}.`);

  console.log(`\nNow as a job, with a checkpoint each second, killed half-way with SIGKILL.`);
  const args = ['run', '--job', job, '--interval', '1s', '--stats', stats, program, size, seed];
  // Time for one checkpoint at least, however fast the machine is.
  const cut = await continuo(args, Math.max(whole.ms / 2, 2000));
  if (!cut.killed || cut.stdout !== '')
    throw new DemoFailure('The job ended before it could be killed: give a larger SIZE.');
  if (!existsSync(job)) throw new DemoFailure('The job was killed before it had a job directory: give a larger SIZE.');
  console.log(`  … killed after ${seconds(cut.ms)}, with nothing printed yet.`);

  console.log('\nThe same command again:');
  const rest = await continuo(args);
  const checkpoints = checkpointsOf(stats);
  console.log(`  … took ${seconds(rest.ms)}, with ${checkpoints.length} more checkpoints.`);

  // Generations are counted over the life of a job, so a run that goes on does not begin with the first.
  if (!(checkpoints[0]?.generation > 1)) {
    throw new DemoFailure('The second run began anew instead of going on from a checkpoint.');
  }
  if (whole.stdout === '' || rest.stdout !== whole.stdout) {
    throw new DemoFailure('The results DIFFER: the interrupted run did not give what the uninterrupted run gave.');
  }
  console.log('\nThe digests are equal: killed and resumed, the job gave the result of the uninterrupted run.');
}

const folder = mkdtempSync(join(tmpdir(), 'continuo-demo-'));
try {
  await demo(folder);
} catch (error) {
  if (!(error instanceof DemoFailure)) throw error;
  console.error(`\n${error.message}`);
  process.exitCode = 1;
} finally {
  rmSync(folder, { recursive: true, force: true });
}
