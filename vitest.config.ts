import { availableParallelism } from 'node:os';
import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    globalSetup: ['test/global-setup.ts'],
    // Forks, because tests start worker threads of their own, send signals and read process-wide state.
    pool: 'forks',
    // One fewer than processors is the default. Of two, one would stand still whenever a test waits for a process of its own.
    maxWorkers: Math.max(2, availableParallelism() - 1),
    // Tests start processes, and a machine may be busy: only what hangs is to end by the clock.
    testTimeout: 240_000,
    hookTimeout: 240_000,
    teardownTimeout: 5_000,
  },
});
