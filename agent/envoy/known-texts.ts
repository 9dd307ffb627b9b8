// Texts of the access log: the same few come again and again, and one that is known is found by its bytes instead of made anew.

const slots = 1_024;
/** What is longer is made each time. */
const mostBytes = 64;

export class KnownTexts {
  readonly #known: string[] = Array.from({ length: slots }, () => '');

  of(bytes: Buffer, start: number, end: number): string {
    const length = end - start;
    if (length === 0) return '';
    if (length > mostBytes) return bytes.toString('utf8', start, end);
    let hash = 0x811c9dc5;
    for (let at = start; at < end; at += 1) hash = Math.imul(hash ^ bytes[at]!, 0x01000193);
    const slot = (hash ^ (hash >>> 16)) & (slots - 1);
    const known = this.#known[slot]!;
    if (known.length === length) {
      let index = 0;
      while (index < length && known.charCodeAt(index) === bytes[start + index]) index += 1;
      if (index === length) return known;
    }
    const text = bytes.toString('utf8', start, end);
    // One character for each byte: ASCII, which the comparison above is right for.
    if (text.length === length) this.#known[slot] = text;
    return text;
  }
}
