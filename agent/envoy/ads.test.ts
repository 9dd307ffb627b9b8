// Delta ADS against an Envoy of the test's own making: what is sent, what is not sent again, what a refusal does to others.
import { beforeEach, describe, expect, test } from '@jest/globals';
import { Ads } from './ads.ts';
import { typeUrl } from './messages.ts';

interface Sent { readonly nonce: string; readonly resources: readonly { readonly name: string; readonly version: string }[]; readonly removed_resources: readonly string[] }
type Request = Readonly<Record<string, unknown>>;

/** The far end of one stream. */
class FakeEnvoy {
  readonly sent: Sent[] = [];
  over: () => void = () => undefined;
  #each: (request: Request) => void = () => undefined;
  constructor(ads: Ads) {
    const messages = { set each(each: (request: Request) => void) { owner.#each = each; }, ended: () => undefined };
    const owner = this;
    const call = { write: (message: Sent) => { this.sent.push(message); return true; }, whenOver: (tell: () => void) => { this.over = tell; }, end: () => undefined };
    ads.register({ stream: (_method: unknown, handle: (...args: unknown[]) => void) => { handle(call, messages); } } as never);
  }
  ask(more: Request = {}): void {
    this.#each({ type_url: typeUrl('Listener'), resource_names_subscribe: [], resource_names_unsubscribe: [], initial_resource_versions: {}, response_nonce: '', ...more });
  }
  answer(index: number, error?: string): void { this.ask({ response_nonce: this.sent[index]!.nonce, ...(error !== undefined && { error_detail: { message: error } }) }); }
  get names(): string[] { return this.sent.map(({ resources, removed_resources: removed }) => [...resources.map(({ name }) => name), ...removed.map((name) => `-${name}`)].join(' ')); }
}

let ads: Ads;
let envoy: FakeEnvoy;
beforeEach(() => {
  ads = new Ads(() => undefined);
  envoy = new FakeEnvoy(ads);
});
const listener = (name: string, port = 1): void => { ads.set('Listener', name, { name, address: { socket_address: { port_value: port } } }); };

describe('delta ADS', () => {
  test('nothing is said before it is known what there should be', () => {
    listener('a');
    envoy.ask();
    expect(envoy.names).toEqual([]);
    ads.begin();
    expect(envoy.names).toEqual(['a']);
  });
  test('accepted, changed, taken away', () => {
    ads.begin();
    envoy.ask();
    listener('a');
    expect(ads.outcome('Listener', 'a')).toBe('waiting');
    envoy.answer(0);
    expect(ads.outcome('Listener', 'a')).toBe('accepted');
    listener('a');
    listener('a', 2);
    expect(ads.outcome('Listener', 'a')).toBe('waiting');
    envoy.answer(1);
    ads.remove('Listener', 'a');
    expect(envoy.names).toEqual(['a', 'a', '-a']);
  });
  test('one of many is refused: each is sent alone, and only that one stays refused', () => {
    for (const name of ['a', 'b', 'c']) listener(name);
    ads.begin();
    envoy.ask();
    expect(envoy.names).toEqual(['a b c']);
    envoy.answer(0, 'b is bad');
    expect(envoy.names.slice(1)).toEqual(['a', 'b', 'c']);
    envoy.answer(1);
    envoy.answer(2, 'bad b');
    envoy.answer(3);
    expect(['a', 'b', 'c'].map((name) => ads.outcome('Listener', name))).toEqual(['accepted', { refused: 'bad b' }, 'accepted']);
    listener('b', 2);
    envoy.answer(4);
    expect(ads.outcome('Listener', 'b')).toBe('accepted');
  });
  test('who comes back is sent what differs', () => {
    ads.begin();
    envoy.ask();
    listener('a');
    listener('b');
    const versions = Object.fromEntries(envoy.sent.flatMap(({ resources }) => resources.map(({ name, version }) => [name, version])));
    envoy.over();
    listener('b', 2);
    const again = new FakeEnvoy(ads);
    again.ask({ initial_resource_versions: { ...versions, gone: 'x' } });
    expect(again.names).toEqual(['b -gone']);
    expect(ads.outcome('Listener', 'a')).toBe('accepted');
  });
  test('routes go to who asks for them', () => {
    ads.begin();
    ads.set('RouteConfiguration', 'r', { name: 'r' });
    ads.set('RouteConfiguration', 's', { name: 's' });
    envoy.ask({ type_url: typeUrl('RouteConfiguration'), resource_names_subscribe: ['r'] });
    expect(envoy.names).toEqual(['r']);
  });
  test('Secrets go one by one', () => {
    ads.begin();
    for (const name of ['a', 'b']) ads.set('Secret', name, { name });
    envoy.ask({ type_url: typeUrl('Secret'), resource_names_subscribe: ['a', 'b'] });
    expect(envoy.names).toEqual(['a', 'b']);
  });
  test('at most 16 messages are unanswered', () => {
    ads.begin();
    envoy.ask();
    for (let index = 0; index < 30; index += 1) listener(String(index));
    expect(envoy.sent).toHaveLength(16);
    envoy.answer(0);
    expect(envoy.names[16]).toBe('16 17 18 19 20 21 22 23 24 25 26 27 28 29');
  });
  test('without an Envoy everything waits', () => {
    listener('a');
    envoy.over();
    expect([ads.connected, ads.outcome('Listener', 'a')]).toEqual([0, 'waiting']);
  });
});
