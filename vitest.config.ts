import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    globalSetup: ['test/global-setup.ts'],
    // Forks, because tests start worker threads of their own, send signals and read process-wide state.
    pool: 'forks',
    // Some tests send signals to running programs: on a machine that is suddenly faster or slower the program may be done,
    // or not yet there. Such a test begins again; one that is wrong fails three times.
    retry: 2,
    testTimeout: 60_000,
    hookTimeout: 60_000,
    teardownTimeout: 5_000,
  },
});
