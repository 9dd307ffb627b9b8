// What of an HTTP request is never kept: the query and the password of a URL, values of headers. Flags as upstream Hubble's; it
// happens before a request reaches the ring, so nothing of it can be asked for later.
import { RequestError } from './errors.ts';

export interface RedactOptions {
  /** The query goes. */
  readonly urlQuery?: boolean;
  /** The password goes; true unless it is given. */
  readonly userInfo?: boolean;
  /** Only these keep their values. */
  readonly headersAllow?: readonly string[];
  /** All but these keep their values. */
  readonly headersDeny?: readonly string[];
}

export const redacted = 'HUBBLE_REDACTED';

/** What carries a credential. A list of the user's stands in its place. */
export const secretHeaders: readonly string[] = [
  'authorization', 'proxy-authorization', 'cookie', 'set-cookie', 'x-api-key', 'x-auth-token', 'x-csrf-token', 'x-amz-security-token', 'x-goog-iam-authorization-token',
];

export class Redaction {
  readonly #urlQuery: boolean;
  readonly #userInfo: boolean;
  readonly #names: ReadonlySet<string>;
  /** Of a name in the list. */
  readonly #keeps: boolean;

  /** Throws RequestError. */
  constructor({ urlQuery = false, userInfo = true, headersAllow = [], headersDeny = [] }: RedactOptions = {}) {
    if (headersAllow.length > 0 && headersDeny.length > 0) throw new RequestError('headers to redact: a list of those that are kept and one of those that are not cannot be combined');
    this.#urlQuery = urlQuery;
    this.#userInfo = userInfo;
    this.#keeps = headersAllow.length > 0;
    const names = this.#keeps ? headersAllow : headersDeny.length > 0 ? headersDeny : secretHeaders;
    this.#names = new Set(names.map((name) => name.toLowerCase()));
  }

  /** `name`: in lower case. */
  header(name: string, value: string): string { return this.#names.has(name) === this.#keeps ? value : redacted; }

  /** As Hubble has it: scheme, host, path and query. */
  url(scheme: string, authority: string, path: string): string {
    return `${scheme}://${this.#userInfo ? withoutPassword(authority) : authority}${this.#urlQuery ? withoutQuery(path) : path}`;
  }
}

function withoutPassword(authority: string): string {
  const at = authority.lastIndexOf('@');
  if (at < 0) return authority;
  const colon = authority.indexOf(':');
  return colon < 0 || colon > at ? authority : `${authority.slice(0, colon + 1)}${redacted}${authority.slice(at)}`;
}

function withoutQuery(path: string): string {
  const end = path.search(/[?#]/);
  return end < 0 ? path : path.slice(0, end);
}
