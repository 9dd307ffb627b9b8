// The codec writes every name in full. Here a record that belongs to the name in question points to it (RFC 1035, 4.1.4): three
// times as many addresses fit a datagram. No name of the codec's is a pointer, so that nothing else moves.

const headerBytes = 12;
const fixedBytes = 10; // type, class, ttl, length
const questionPointer = Buffer.from([0xc0, headerBytes]);

/** Behind the name that begins at `at`. */
export function nameEnd(bytes: Buffer, at: number): number {
  let end = at;
  while (end < bytes.length && bytes[end] !== 0) end += bytes[end]! + 1;
  return end + 1;
}

/** `bytes`: a message with one question, as the codec wrote it. */
export function compress(bytes: Buffer): Buffer {
  const questionEnd = nameEnd(bytes, headerBytes);
  const question = bytes.subarray(headerBytes, questionEnd);
  const parts = [bytes.subarray(0, questionEnd + 4)];
  for (let at = questionEnd + 4; at < bytes.length;) {
    const end = nameEnd(bytes, at);
    const next = end + fixedBytes + bytes.readUInt16BE(end + fixedBytes - 2);
    const isSame = question.length > questionPointer.length && bytes.subarray(at, end).equals(question);
    parts.push(isSame ? questionPointer : bytes.subarray(at, end), bytes.subarray(end, next));
    at = next;
  }
  return Buffer.concat(parts);
}
