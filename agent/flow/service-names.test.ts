// Whose address and port it is, while Services come, change and go: no answer changes unless the revision moves.
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { endpointTable } from '../endpoint/tables.ts';
import { nodeAddressTable, remoteEndpointTable } from '../node/tables.ts';
import { makeRandom } from '../policy/random-cases.ts';
import { ServiceFollower } from '../service/follow.ts';
import { backendTable, frontendTable, serviceTable, sliceTable, type ServiceRow, type SliceEndpoint, type SliceRow } from '../service/tables.ts';
import { workloadTable } from '../workload/tables.ts';
import { ServiceNames } from './service-names.ts';

const service = (name: string, clusterIp: string, port = 80): ServiceRow => ({
  key: `shop/${name}`, namespace: 'shop', name, type: 'ClusterIP', labels: {}, annotations: {}, headless: false, clusterIps: [clusterIp], externalIps: [], loadBalancerIps: [],
  ports: [{ name: '', protocol: 'TCP', port, targetPort: 8080 }], internalLocal: false, externalLocal: false, sourceRanges: [], publishNotReady: false, forwarding: {},
});
const end = (address: string, ready = true): SliceEndpoint => ({ addresses: [address], ready, serving: ready, terminating: false, node: 'n1' });
const slice = (name: string, ...endpoints: readonly SliceEndpoint[]): SliceRow => ({ key: `shop/${name}-1`, namespace: 'shop', service: name, family: 4, ports: [{ name: '', protocol: 'TCP', port: 8080 }], endpoints });

/** "web" at 10.218.0.1:80, answered by 10.0.0.1:8080. */
class World {
  readonly services = serviceTable();
  readonly slices = sliceTable();
  readonly frontends = frontendTable();
  readonly backends = backendTable();
  readonly names = new ServiceNames(this.frontends, this.backends);
  readonly follower: ServiceFollower;

  constructor() {
    const { services, slices, frontends, backends } = this;
    this.follower = new ServiceFollower({ services, slices, frontends, backends, endpoints: endpointTable(), workloads: workloadTable(), remoteEndpoints: remoteEndpointTable(), nodeAddresses: nodeAddressTable() },
      { node: 'n1', maglev: false, dsr: false }, () => undefined);
    this.names.follow(this.follower);
    this.services.write([service('web', '10.218.0.1')]);
    this.slices.write([slice('web', end('10.0.0.1'))]);
    this.follower.flush();
  }

  at(address: string, port: number): string | undefined { return this.names.at(address, port, 6)?.name; }
}

let world: World;
beforeEach(() => { world = new World(); });
afterEach(() => {
  world.follower.stop();
  world.names.close();
});

const cases: { name: string; change: (world: World) => void; frontend: string | undefined; backend: string | undefined }[] = [
  { name: 'a Service goes', change: ({ services }) => { services.write([], ['shop/web']); }, frontend: undefined, backend: undefined },
  { name: 'another has its address', change: ({ services }) => { services.write([service('new', '10.218.0.1')], ['shop/web']); }, frontend: 'new', backend: undefined },
  { name: 'it moves to another address', change: ({ services }) => { services.write([service('web', '10.218.0.2')]); }, frontend: undefined, backend: 'web' },
  { name: 'its backend is another', change: ({ slices }) => { slices.write([slice('web', end('10.0.0.2'))]); }, frontend: 'web', backend: undefined },
  { name: 'a second one has the same backend', change: ({ services, slices }) => { services.write([service('too', '10.218.0.2')]); slices.write([slice('too', end('10.0.0.1'))]); }, frontend: 'web', backend: undefined },
];

describe('what changes is seen, and the revision moves', () => {
  test.each(cases)('$name', ({ change, frontend, backend }) => {
    const { names, follower } = world;
    expect([world.at('10.218.0.1', 80), world.at('10.0.0.1', 8080)]).toEqual(['web', 'web']);
    const before = names.revision;
    change(world);
    follower.flush();
    expect([world.at('10.218.0.1', 80), world.at('10.0.0.1', 8080)]).toEqual([frontend, backend]);
    expect(names.revision).toBeGreaterThan(before);
  });

  test('a backend that another Service has too, though it sends nobody there: no row changes', () => {
    const { names, services, slices, frontends, backends, follower } = world;
    services.write([service('too', '10.218.0.2')]);
    follower.flush();
    const [revision, rows] = [names.revision, [frontends.revision, backends.revision]];
    slices.write([slice('too', end('10.0.0.1', false))]);
    follower.flush();
    expect([frontends.revision, backends.revision]).toEqual(rows);
    expect(world.at('10.0.0.1', 8080)).toBeUndefined();
    expect(names.revision).toBeGreaterThan(revision);
  });

  test('what changes nothing leaves the revision', () => {
    const { names, services, slices, follower } = world;
    const before = names.revision;
    services.write([{ ...service('web', '10.218.0.1'), labels: { new: 'label' } }]);
    slices.write([slice('web', { ...end('10.0.0.1'), hostname: 'h' })]);
    follower.flush();
    expect(names.revision).toBe(before);
  });
});

test('random changes: an answer is another only when the revision is', () => {
  const random = makeRandom(5);
  const asked: (readonly [string, number])[] = [1, 2, 3].flatMap((number) => [[`10.218.0.${number}`, 80], [`10.0.0.${number}`, 8080]] as const);
  const answers = (): string => JSON.stringify(asked.map(([address, port]) => world.at(address, port) ?? null));
  let [changed, last, revision] = [0, answers(), world.names.revision];
  for (let turn = 0; turn < 500; turn += 1) {
    const name = random.pick(['web', 'a', 'b']);
    if (random.chance(0.4)) world.services.write(random.chance(0.7) ? [service(name, `10.218.0.${1 + random.below(3)}`)] : [], random.chance(0.3) ? [`shop/${name}`] : []);
    else world.slices.write([slice(name, ...random.some(0, 3, () => end(`10.0.0.${1 + random.below(3)}`, random.chance(0.6))))]);
    world.follower.flush();
    const now = answers();
    if (now !== last) {
      changed += 1;
      expect(world.names.revision).toBeGreaterThan(revision);
    }
    [last, revision] = [now, world.names.revision];
  }
  expect(changed).toBeGreaterThan(100);
});
