import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    globalSetup: ['test/global-setup.ts'],
    // Forks, because tests start worker threads of their own, send signals and read process-wide state.
    pool: 'forks',
    // Tests start processes, and a machine may be busy: only what hangs is to end by the clock.
    testTimeout: 240_000,
    hookTimeout: 240_000,
    teardownTimeout: 5_000,
  },
});
