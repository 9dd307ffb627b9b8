// Filters by HTTP and DNS records. HTTP makes sense only for L7 events, so other event types beside it are refused.
import { RequestError } from '../errors.ts';
import { eventType, type Flow, type FlowFilter, type HttpHeader, type Layer7 } from '../types.ts';
import type { FieldCompilers, Predicate } from './compile.ts';
import { compileRegex } from './patterns.ts';

type Http = NonNullable<Layer7['http']>;

function onHttp<Value>(what: string, compile: (values: readonly Value[]) => (http: Http) => boolean) {
  return (values: readonly Value[], filter: FlowFilter): Predicate => {
    const types = filter.event_type ?? [];
    if (types.length > 0 && !types.some(({ type }) => type === eventType.l7)) {
      throw new RequestError(`invalid ${what} filter: it needs the event type l7 (${eventType.l7}) or no event type at all`);
    }
    const matches = compile(values);
    return (flow: Flow) => flow.l7?.http != null && matches(flow.l7.http);
  };
}

const fullCode = /^[1-5][0-9]{2}$/;
const codePrefix = /^[1-5][0-9]?\+$/;

const status = (values: readonly string[]) => {
  const codes = new Set<string>();
  const prefixes: string[] = [];
  for (const value of values) {
    if (fullCode.test(value)) codes.add(value);
    else if (codePrefix.test(value)) prefixes.push(value.slice(0, -1));
    else throw new RequestError(`invalid http status code filter: invalid status code${value.endsWith('+') ? ' prefix' : ''}: ${JSON.stringify(value)}`);
  }
  return ({ code }: Http): boolean => {
    const text = String(code ?? 0);
    return text.length === 3 && (codes.has(text) || prefixes.some((prefix) => text.startsWith(prefix)));
  };
};

const method = (values: readonly string[]) => {
  const wanted = new Set(values.map((value) => value.toUpperCase()));
  return (http: Http): boolean => wanted.has((http.method ?? '').toUpperCase());
};

/** Without host and query, percent signs resolved. */
function pathOf(url: string): string | undefined {
  try {
    return decodeURIComponent(new URL(url, 'http://localhost').pathname);
  } catch {
    return undefined; // a request target that is no URL: no path matches it
  }
}

const regexOf = (what: string, textOf: (http: Http) => string | undefined) => (values: readonly string[]) => {
  const regexes = values.map((value) => compileRegex(what, value));
  return (http: Http): boolean => {
    const text = textOf(http);
    return text !== undefined && regexes.some((regex) => regex.test(text));
  };
};

const header = (values: readonly HttpHeader[]) => ({ headers }: Http): boolean =>
  (headers ?? []).some((have) => values.some((want) => (want.key ?? '') === have.key && (want.value ?? '') === have.value));

export const httpFields: FieldCompilers = {
  http_status_code: onHttp('http status code', status),
  http_method: onHttp('http method', method),
  http_path: onHttp('http path', regexOf('http path', (http) => pathOf(http.url ?? ''))),
  http_url: onHttp('http url', regexOf('http url', (http) => http.url ?? '')),
  http_header: onHttp('http header', header),
  dns_query: (values) => {
    const regexes = values.map((value) => compileRegex('dns query', value));
    return (flow) => {
      const dns = flow.l7?.dns;
      return dns != null && regexes.some((regex) => regex.test(dns.query ?? ''));
    };
  },
};
