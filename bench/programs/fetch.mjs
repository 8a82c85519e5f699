// Fetches and builds the programs into the cache: node bench/programs/fetch.mjs [name …]
import fs from 'node:fs';
import { NotAvailable } from './cache.mjs';
import { programNamed, programs } from './catalogue.mjs';

const names = process.argv.slice(2);
for (const program of names.length > 0 ? names.map(programNamed) : programs) {
  try {
    const { file, source } = await program.obtain();
    await program.directories?.();
    console.log(
      `${program.name.padEnd(8)} ${(fs.statSync(file).size / 1e6).toFixed(1).padStart(5)} MB  ${source}  ${file}`,
    );
  } catch (error) {
    if (!(error instanceof NotAvailable)) throw error;
    console.log(`${program.name.padEnd(8)} not available: ${error.message}`);
    process.exitCode = 1;
  }
}
