/**
 * The seal of a job directory: a file that says how the key of its files is made from the secret. It is durable before the
 * first sealed file is made, and an old one is gone before a job that is not sealed is: so it is there exactly when the job is sealed.
 *
 * What a seal cannot tell: whoever may write to the directory can put back an older state of all of it, or remove it.
 */
import type { Device } from '../device/device.ts';
import { CorruptionError, UsageError } from '../error/errors.ts';
import { JOB_SEAL_MAGIC, JOB_SEAL_VERSION, jobSealTable, sealTable } from '../format/seal-format.ts';
import { SEAL_NAME, SealedDevice } from './sealed-device.ts';
import { fileKeyOf, newFileKey, type Secret } from './sealing-key.ts';

/** What the files of a sealed job are opened with; plain data, for all threads. */
export interface JobSeal {
  readonly key: Uint8Array;
  /** Of the file that holds it. */
  readonly contents: Uint8Array;
}

/** A seal for a new job. */
export function newJobSeal(secret: Secret): JobSeal {
  const { fields, key } = newFileKey(secret);
  const seal = new Uint8Array(sealTable.lengthBytes);
  sealTable.encode(fields, seal);
  const contents = new Uint8Array(jobSealTable.lengthBytes);
  jobSealTable.encode({ magic: JOB_SEAL_MAGIC, formatVersion: JOB_SEAL_VERSION, reserved: 0, seal }, contents);
  return { key, contents };
}

/**
 * The seal of the job in a directory; undefined where it is not sealed and no secret was given.
 * @throws UsageError `wrong-key`; CorruptionError: the seal is damaged.
 */
export function sealOfJob(device: Device, secret: Secret | undefined): JobSeal | undefined {
  if (!device.list().includes(SEAL_NAME)) {
    if (secret === undefined) return undefined;
    throw new UsageError('wrong-key', `the job in ${device.path} is not sealed; give no key`, { path: device.path });
  }
  const contents = readSeal(device);
  const path = `${device.path}/${SEAL_NAME}`;
  const fields = jobSealTable.decode(contents);
  if (Buffer.compare(fields.magic, JOB_SEAL_MAGIC) !== 0 || fields.formatVersion !== JOB_SEAL_VERSION) {
    throw new CorruptionError(`${path} is no seal that this version of Continuo knows`, { path });
  }
  return { key: fileKeyOf(secret, sealTable.decode(fields.seal), device.path).key, contents };
}

/** The device of a job for whoever may have the secret for something else: opened where the job is sealed. @throws as `sealOfJob`. */
export function openedWhereSealed(device: Device, secret: Secret | undefined): Device {
  return device.list().includes(SEAL_NAME) ? sealedOrPlain(device, sealOfJob(device, secret)) : device;
}

/** The device of a job, sealed or not. */
export function sealedOrPlain(device: Device, seal: JobSeal | undefined): Device {
  return seal === undefined ? device : new SealedDevice(device, seal.key);
}

/** Before a job is made: leaves its seal in the directory, or none, durably. */
export function placeSeal(device: Device, seal: JobSeal | undefined): void {
  if (seal === undefined) {
    if (!device.list().includes(SEAL_NAME)) return;
    device.remove(SEAL_NAME);
  } else {
    const file = device.openFile(SEAL_NAME, 'create');
    try {
      file.write(seal.contents, 0);
      file.sync();
    } finally {
      file.close();
    }
  }
  device.syncDirectory();
}

function readSeal(device: Device): Uint8Array {
  const contents = new Uint8Array(jobSealTable.lengthBytes);
  const file = device.openFile(SEAL_NAME, 'read');
  try {
    if (file.readInto(contents, 0) === contents.length) return contents;
  } finally {
    file.close();
  }
  throw new CorruptionError(`${device.path}/${SEAL_NAME} is too short for a seal`, { path: device.path });
}
