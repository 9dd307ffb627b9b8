// Addresses of records as text: IPv4 dotted, IPv6 as RFC 5952 wants it, Ethernet with colons.

const isIpv4 = (word: Uint8Array): boolean =>
  word[10] === 0xff && word[11] === 0xff && word.subarray(0, 10).every((byte) => byte === 0);

/** From 16 bytes in network order, IPv4 as ::ffff:a.b.c.d. */
export function ipText(word: Uint8Array): { readonly text: string; readonly version: 4 | 6 } {
  if (isIpv4(word)) return { text: `${word[12]}.${word[13]}.${word[14]}.${word[15]}`, version: 4 };
  const groups = Array.from({ length: 8 }, (_, index) => (word[2 * index]! << 8) | word[2 * index + 1]!);
  let zeros = { start: 0, length: 0 };
  for (let start = 0; start < 8; start += 1) {
    let length = 0;
    while (start + length < 8 && groups[start + length] === 0) length += 1;
    if (length > zeros.length) zeros = { start, length };
  }
  const hex = (from: number, to: number): string => groups.slice(from, to).map((group) => group.toString(16)).join(':');
  if (zeros.length < 2) return { text: hex(0, 8), version: 6 };
  return { text: `${hex(0, zeros.start)}::${hex(zeros.start + zeros.length, 8)}`, version: 6 };
}

export const macText = (bytes: Uint8Array): string => Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join(':');
