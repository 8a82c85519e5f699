/** A program must not reach the directory that holds its own checkpoints: it could write over what it is restarted from. */
import { isAbsolute, relative, sep } from 'node:path';
import { pathWithoutLinks } from '../device/file-device.ts';
import { UsageError } from '../error/errors.ts';
import type { JobDescription } from './protocol.ts';

/**
 * Refuses a job whose directory the program is given: in a directory of its own, around one, or by the file of a standard
 * stream, through symbolic links as well. Touches nothing.
 * @throws UsageError `job-exposed`.
 */
export function refuseExposedJob(jobDirectory: string, description: JobDescription): void {
  const job = pathWithoutLinks(jobDirectory);
  for (const { hostPath } of description.preopens) {
    const directory = pathWithoutLinks(hostPath);
    if (!isWithin(job, directory) && !isWithin(directory, job)) continue;
    const place = directory === job ? 'is' : isWithin(job, directory) ? 'contains' : 'lies in';
    throw exposed(`the directory ${hostPath} that the program is given (--dir) ${place}`, jobDirectory, hostPath);
  }
  const { stdin, stdout, stderr } = description;
  for (const [option, stream] of Object.entries({ '--stdin': stdin, '--stdout': stdout, '--stderr': stderr })) {
    if (stream.kind !== 'file' || !isWithin(pathWithoutLinks(stream.path), job)) continue;
    throw exposed(`the file ${stream.path} of the program (${option}) lies in`, jobDirectory, stream.path);
  }
}

function exposed(what: string, jobDirectory: string, path: string): UsageError {
  return new UsageError(
    'job-exposed',
    `${what} the job directory ${jobDirectory}, where it could write over the program's checkpoints: name a job ` +
      'directory elsewhere',
    { path, job: jobDirectory },
  );
}

/** Whether a path is a directory or lies in it; both are without links. */
export function isWithin(path: string, directory: string): boolean {
  const way = relative(directory, path);
  return way !== '..' && !way.startsWith(`..${sep}`) && !isAbsolute(way);
}
