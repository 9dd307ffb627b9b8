// How a gRPC call ends, and what its headers say of time: https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md
export const status = {
  ok: 0, cancelled: 1, invalidArgument: 3, deadlineExceeded: 4, notFound: 5, resourceExhausted: 8, unimplemented: 12, internal: 13,
} as const;

/** Thrown by a handler: the call ends with it. */
export class StatusError extends Error {
  readonly code: number;

  constructor(code: number, message: string) {
    super(message);
    this.name = 'StatusError';
    this.code = code;
  }
}

/** For `grpc-message`: UTF-8, all but printable ASCII as %XX. */
export const percentEncode = (text: string): string =>
  Array.from(Buffer.from(text), (byte) => (byte >= 0x20 && byte <= 0x7e && byte !== 0x25 ? String.fromCharCode(byte) : `%${byte.toString(16).toUpperCase().padStart(2, '0')}`)).join('');

const unitMs: Readonly<Record<string, number>> = { H: 3_600_000, M: 60_000, S: 1_000, m: 1, u: 1e-3, n: 1e-6 };

/** Of `grpc-timeout`. Throws StatusError. */
export function timeoutMs(text: string): number {
  const [, digits, unit] = /^([0-9]{1,8})([HMSmun])$/.exec(text) ?? [];
  if (digits === undefined) throw new StatusError(status.internal, `grpc-timeout ${JSON.stringify(text)}: expected up to 8 digits and a unit`);
  return Number(digits) * unitMs[unit!]!;
}
