// The uuid of a flow is made of its number in the ring: unique, in the form of a version 4 UUID, the same whenever the record is
// decoded, and a way back to the record. One random part per process.
import { randomBytes } from 'node:crypto';

const start = randomBytes(10);
start[6] = (start[6]! & 0x0f) | 0x40;
start[8] = (start[8]! & 0x3f) | 0x80;
const prefix = start.toString('hex').replace(/^(.{8})(.{4})(.{4})(.{4})$/, '$1-$2-$3-$4-');
const first = randomBytes(4).readUInt32BE();

/** For who writes it byte by byte: the prefix, then `first` and the number in 12 digits. */
export const uuidParts = { prefix, first };

export const uuidOf = (number: number): string => prefix + (first + number).toString(16).padStart(12, '0');

/** Undefined for what this process did not number. */
export function numberOfUuid(uuid: string): number | undefined {
  const tail = uuid.slice(prefix.length);
  return uuid.startsWith(prefix) && /^[0-9a-f]{12}$/.test(tail) ? parseInt(tail, 16) - first : undefined;
}
