/** Where nothing tells the width, as in a pipe. */
const COLUMNS = 80;

/** Width of the terminal that standard output goes to. */
export function terminalColumns(): number {
  return process.stdout.columns ?? COLUMNS;
}
