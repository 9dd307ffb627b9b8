// A rule's regular expression -> how Envoy is told to compare: as a text where it is one, or one with `.*` before or behind it. The same answers,
// at a tenth of the cost; what refuses a request is asked of every rule of its set.
import type { Message } from './messages.ts';

/** RE2 reads these behind a backslash as themselves. */
const escapable = /[!-/:-@[-^`{-~]/;
const special = new Set('\\.+*?()|[]{}^$');
const printable = /^[ -~]*$/;
const anything = '.*';

/** The one text that it stands for; undefined: it stands for others too. */
function literalOf(regex: string): string | undefined {
  if (!printable.test(regex)) return undefined;
  let text = '';
  for (let index = 0; index < regex.length; index += 1) {
    const char = regex[index]!;
    if (char === '\\') {
      index += 1;
      const next = regex[index];
      if (next === undefined || !escapable.test(next)) return undefined;
      text += next;
    } else if (special.has(char)) return undefined;
    else text += char;
  }
  return text;
}

/** Of all that a header has; values hold no line end, so `.` stands for everything. */
export function stringMatch(regex: string): Message {
  const whole = regex.replace(/^\^/, '').replace(/(?<!\\)\$$/, '');
  const [open, closed] = [whole.startsWith(anything), whole.endsWith(anything) && !whole.endsWith(`\\${anything}`) && whole.length > anything.length];
  const text = literalOf(whole.slice(open ? anything.length : 0, closed ? -anything.length : undefined));
  if (text === undefined || text === '') return { safe_regex: { google_re2: {}, regex } };
  return { [open && closed ? 'contains' : open ? 'suffix' : closed ? 'prefix' : 'exact']: text };
}
