// The trace that a request belongs to, as its headers say: W3C Trace Context, else B3 in one header or in several.

const w3c = /^[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}(?:-|$)/;
const b3 = /^([0-9a-f]{32}|[0-9a-f]{16})-[0-9a-f]{16}(?:-|$)/;
const b3Id = /^(?:[0-9a-f]{32}|[0-9a-f]{16})$/;
const none = /^0*$/;
const digits = 32;

const wide = (id: string | undefined): string => (id === undefined || none.test(id) ? '' : id.padStart(digits, '0'));

/** By the header's name, in lower case; the earlier outranks the later. */
const readers: readonly (readonly [name: string, read: (value: string) => string])[] = [
  ['traceparent', (value) => (value.startsWith('ff') ? '' : wide(w3c.exec(value)?.[1]))],
  ['b3', (value) => wide(b3.exec(value.toLowerCase())?.[1])],
  ['x-b3-traceid', (value) => wide(b3Id.exec(value.toLowerCase())?.[0])],
];

/** 32 digits; empty when there is none. */
export function traceIdOf(headers: readonly (readonly [name: string, value: string])[]): string {
  let [found, rank] = ['', readers.length];
  for (const [name, value] of headers) {
    // Most headers are none of these: their length says so.
    if (name.length !== 11 && name.length !== 2 && name.length !== 12) continue;
    const index = readers.findIndex(([wanted]) => wanted === name);
    if (index < 0 || index >= rank) continue;
    const id = readers[index]![1](value);
    if (id !== '') [found, rank] = [id, index];
  }
  return found;
}
