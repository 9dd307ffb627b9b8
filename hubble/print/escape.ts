// Names and labels come from workloads and packets: what could command a terminal is shown as \xNN instead.

// C0 and C1 controls, DEL, line separators, marks that turn the direction of text.
const unsafe = /[\u0000-\u001f\u007f-\u009f\u200e\u200f\u2028-\u202e\u2066-\u2069]/g;

const hex = (character: string, width: number): string => character.charCodeAt(0).toString(16).padStart(width, '0');

export const escape = (text: string): string =>
  text.replace(unsafe, (character) => (character.charCodeAt(0) < 0x100 ? `\\x${hex(character, 2)}` : `\\u${hex(character, 4)}`));

/** On JSON text, which stays JSON: a line's end in it is no character of a text. */
export const escapeJson = (json: string): string => json.replace(unsafe, (character) => (character === '\n' ? character : `\\u${hex(character, 4)}`));
