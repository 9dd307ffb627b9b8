// Test only: items of toPorts with L7 rules, and requests that some of them are about (random-cases.ts).
import type { Random } from './random-cases.ts';
import type { L7Request } from './request.ts';

type Json = Record<string, unknown>;

const PATHS = ['/a', '/a/.*', '/(a|b)', '/[a-z]+', '.*'];
const METHODS = ['GET', 'GET|POST', '(PUT|DELETE)'];
const HOSTS = ['a[.]example', '.*[.]example(:80)?'];
const HEADERS = ['X-A: 1', 'X-A 2', 'X-B'];
const NAMES = ['a.example', '*.example', '**.example', 'a*.example', '*'];

export function randomL7Item(random: Random): Json {
  const ports = random.some(1, 2, () => ({ port: random.pick(['80', '80', '8080', 'http']), protocol: 'TCP', ...(random.chance(0.1) ? { endPort: 9000 } : {}) }));
  const kind = random.pick(['http', 'http', 'http', 'http', 'names', 'opened']);
  return {
    ports,
    ...(kind === 'names' || (kind === 'opened' && random.chance(0.5)) ? { serverNames: random.some(1, 2, () => random.pick(NAMES)) } : {}),
    ...(kind === 'opened' ? { terminatingTLS: { secret: { name: random.pick(['s', 't']) } } } : {}),
    ...(kind === 'names' ? {} : { rules: { http: random.some(1, 2, () => randomHttp(random)) } }),
  };
}

const randomHttp = (random: Random): Json => ({
  ...(random.chance(0.6) ? { path: random.pick(PATHS) } : {}),
  ...(random.chance(0.4) ? { method: random.pick(METHODS) } : {}),
  ...(random.chance(0.2) ? { host: random.pick(HOSTS) } : {}),
  ...(random.chance(0.2) ? { headers: random.some(1, 2, () => random.pick(HEADERS)) } : {}),
  ...(random.chance(0.2) ? { headerMatches: [{ name: 'X-A', value: random.pick(['1', '2']), ...(random.chance(0.5) ? { mismatch: random.pick(['LOG', 'ADD', 'DELETE', 'REPLACE']) } : {}) }] } : {}),
});

export const randomRequest = (random: Random): L7Request => ({
  http: {
    method: random.pick(['GET', 'POST', 'PUT']), path: random.pick(['/a', '/a/b', '/b', '/c1', '/']), host: random.pick(['a.example', 'b.example:80', 'other']),
    headers: [...(random.chance(0.5) ? [['x-a', random.pick(['1', '2'])] as const] : []), ...(random.chance(0.3) ? [['x-b', ''] as const] : [])],
  },
  ...(random.chance(0.7) ? { sni: random.pick(['a.example', 'b.a.example', 'other']) } : {}),
});
