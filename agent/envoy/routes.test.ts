// Rules -> routes: which there are, in which order, what each asks for and changes.
import { describe, expect, test } from '@jest/globals';
import type { HttpRule, RuleSet } from '../policy/image.ts';
import { encode, messageType, type Message } from './messages.ts';
import { parseRouteName, routeConfiguration, routeName } from './routes.ts';
import { http1, setOf } from './testing-sets.ts';

type Json = Record<string, any>;
const routesOf = (set: RuleSet): Json[] => (routeConfiguration('r', set.rules) as Json)['virtual_hosts'][0]['routes'];
/** `NAME: CONDITIONS -> WHAT`. */
function said({ name, match, direct_response: direct, request_headers_to_add: added = [], request_headers_to_remove: removed = [] }: Json): string {
  const condition = ({ name: header, present_match: present, invert_match: inverted, string_match: text }: Json): string => {
    if (present) return header;
    if (inverted) return `${header} plain`;
    const [[kind, value]] = Object.entries(text) as [[string, any]];
    return kind === 'safe_regex' ? `${header}~${value.regex}` : kind === 'exact' ? `${header}=${value}` : `${header} ${kind} ${value}`;
  };
  const path = match.connect_matcher === undefined ? match.prefix : 'CONNECT';
  const changed = [...removed.map((one: string) => `-${one}`), ...added.map(({ header: { key, value } }: Json) => `+${key}=${value}`)].join(' ');
  return `${name}: ${[path, ...(match.headers ?? []).map(condition)].join(' ')}${changed === '' ? '' : ` ${changed}`} -> ${direct?.status ?? 'forward'}`;
}

const end = ['denied: CONNECT -> 403', 'denied:  -> 403'];
const miss = (name: string, action: HttpRule['mismatches'][number]['action']): HttpRule['mismatches'][number] => ({ name, value: '1', action });

describe('routes', () => {
  test.each<{ name: string; set: RuleSet; routes: readonly string[] }>([
    { name: 'an empty rule: everything is seen and passes', set: setOf('s', http1({})), routes: ['0: / -> forward', ...end] },
    { name: 'method and host', set: setOf('s', http1({ method: 'GET', host: 'a' })), routes: ['0: / :method=GET :authority=a -> forward', ...end] },
    { name: 'a path is asked for last that servers read it as Envoy does', set: setOf('s', http1({ path: '/a[bc]', method: 'GET' })), routes: ['0: / :path~/a[bc] :method=GET :path plain -> forward', ...end] },
    { name: 'a path by its beginning', set: setOf('s', http1({ path: '/a.*' })), routes: ['0: / :path prefix /a :path plain -> forward', ...end] },
    { name: 'one path alone', set: setOf('s', http1({ path: '/a' })), routes: ['0: / :path=/a -> forward', ...end] },
    { name: 'one path that servers read as another', set: setOf('s', http1({ path: '/a%2Fb' })), routes: ['0: / :path=/a%2Fb :path plain -> forward', ...end] },
    { name: 'one of two methods, hosts by their end', set: setOf('s', http1({ method: 'GET|PUT', host: '.*\\.a' })), routes: ['0: / :method~GET|PUT :authority suffix .a -> forward', ...end] },
    { name: 'headers', set: setOf('s', http1({ headers: [{ name: 'x-a' }, { name: 'x-b', value: 'c' }] })), routes: ['0: / x-a x-b=c -> forward', ...end] },
    { name: 'several rules', set: setOf('s', http1({ method: 'GET' }), http1({ method: 'PUT' })), routes: ['0: / :method=GET -> forward', '1: / :method=PUT -> forward', ...end] },
    { name: 'a plain allow beside', set: setOf('s', http1({ method: 'GET' }), 'any'), routes: ['0: / :method=GET -> forward', '1:  -> forward', ...end] },
    { name: 'ADD', set: setOf('s', http1({ mismatches: [miss('x-a', 'ADD')] })), routes: ['0: / x-a=1 -> forward', '0 x-a: / -x_a +x-a=1 -> forward', ...end] },
    { name: 'DELETE', set: setOf('s', http1({ mismatches: [miss('xa', 'DELETE')] })), routes: ['0: / xa=1 -> forward', '0 xa: / -xa -> forward', ...end] },
    { name: 'REPLACE', set: setOf('s', http1({ mismatches: [miss('x-a', 'REPLACE')] })), routes: ['0: / x-a=1 -> forward', '0 x-a: / -x-a -x_a +x-a=1 -> forward', ...end] },
    { name: 'LOG', set: setOf('s', http1({ mismatches: [miss('x-a', 'LOG')] })), routes: ['0: / x-a=1 -> forward', '0 x-a: / -> forward', ...end] },
    {
      name: 'two of them: the fewest that do not hold come first', set: setOf('s', http1({ mismatches: [miss('a', 'LOG'), miss('b', 'DELETE')] })),
      routes: ['0: / a=1 b=1 -> forward', '0 a: / b=1 -> forward', '0 b: / a=1 -b -> forward', '0 a b: / -b -> forward', ...end],
    },
    {
      name: 'another rule that holds as it is comes before', set: setOf('s', http1({ mismatches: [miss('a', 'DELETE')] }), http1({ method: 'GET' })),
      routes: ['0: / a=1 -> forward', '1: / :method=GET -> forward', '0 a: / -a -> forward', ...end],
    },
    { name: 'no rule at all', set: setOf('s'), routes: end },
  ])('$name', ({ set, routes }) => {
    expect(routesOf(set).map(said)).toEqual(routes);
  });

  test('nothing of it is lost on the way to Envoy', () => {
    const message: Message = routeConfiguration('r', setOf('s', http1({ method: 'GET', path: '/a', host: 'h', headers: [{ name: 'x' }, { name: 'y', value: 'z' }], mismatches: [miss('x-a', 'REPLACE')] })).rules);
    const type = messageType('RouteConfiguration');
    const back = type.toObject(type.decode(encode('RouteConfiguration', message)), { longs: Number, enums: String });
    // Empty messages and zeros are not on the wire.
    expect(JSON.stringify(back).match(/"(safe_regex|exact|prefix|present_match|invert_match|connect_matcher|status|inline_string|num_retries|append_action|key)"/g)!.length).toBeGreaterThan(20);
    expect(back['virtual_hosts'][0].routes.map(({ name }: Json) => name)).toEqual(['0', '0 x-a', 'denied', 'denied']);
  });

  test.each<{ name: string; text: string; parsed: ReturnType<typeof parseRouteName> }>([
    { name: 'a rule', text: routeName(3, []), parsed: { rule: 3, mismatched: [] } },
    { name: 'a rule that let something pass', text: routeName(12, ['x-a', 'x-b']), parsed: { rule: 12, mismatched: ['x-a', 'x-b'] } },
    { name: 'denied', text: 'denied', parsed: undefined },
    { name: 'no route', text: '', parsed: undefined },
  ])('names of routes: $name', ({ text, parsed }) => { expect(parseRouteName(text)).toEqual(parsed); });
});
