// Frames per second of CPU time of a NodePort whose backend is on another node, by XDP and by tc: live frames come in on a veth of a namespace of its own, and
// are counted where they come out. One connection, one core; both directions, both families. By the CPU time of the thread that sends them
// through, for on a busy machine the other end of the veth may be late and its queue overflow; that they come out at all is checked.
import { execFileSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { attachType, linkCreate, mapUpdate, runXdpLive } from '../agent/kernel/bpf.ts';
import { perCpuSums, possibleCpus } from '../agent/kernel/map.ts';
import { Bench } from '../bpf/testing/bench.ts';
import { node, Outside } from '../bpf/testing/outside.ts';
import { fieldsOf, frame, type Frame } from '../bpf/testing/packet.ts';
import { Services } from '../bpf/testing/services.ts';
import { counter, frontend_scope, ipcache_flag } from '../bpf/types.gen.ts';
import { links } from '../agent/kernel/link.ts';
import { withNetlinkIn } from '../agent/kernel/netns.ts';
import { judgePath } from './build.ts';
import { interleave, median, ratio } from './statistics.ts';
import type { Figure } from './table.ts';

const rounds = 15;
const [frames, turns] = [8_192, 8];
const [nodePort, backendPort, clientPort, tcp] = [30_080, 8_080, 40_000, 6];
const router = '02:00:00:00:00:99';
/** As struct headers in judge.c. */
const headers = 96;
const payload = 'x'.repeat(64);
const nativeXdp = 1 << 2;
const families = [
  { family: 'IPv4', key: 'ipv4', client: '203.0.113.9', remote: '10.0.1.1', gateway: '198.51.100.1', bits: 32 },
  { family: 'IPv6', key: 'ipv6', client: '2001:db8:9::9', remote: 'fd00:0:0:1::1', gateway: '2001:db8:51::1', bits: 128 },
] as const;

export async function xdp(): Promise<Figure[]> {
  const outside = new Outside('bench-xdp');
  const bench = new Bench({ object: judgePath });
  try {
    return await Promise.resolve(measure(outside, bench));
  } finally {
    bench.close();
    outside.close();
  }
}

function measure(outside: Outside, bench: Bench): Figure[] {
  const { programs, maps } = bench.datapath.object;
  const program = (name: string): number => programs.get(name)!;
  const device = outside.device;
  const far = withNetlinkIn('/run/netns/weir-bpf-bench-xdp', (netlink) => links(netlink).find(({ name }) => name === 'far')!.index);
  const services = new Services(bench);
  bench.netdev(device, node);
  bench.prefix('0.0.0.0/0', 9);
  bench.prefix('::/0', 10);
  const cpus = possibleCpus();
  const sunk = (): number => Number(perCpuSums(maps.get('sunk')!, 0, cpus)[0]!);
  return outside.within(() => {
    for (const family of ['ipv4', 'ipv6']) writeFileSync(`/proc/sys/net/${family}/conf/out/forwarding`, '1');
    // Frames of a native program are taken by a veth only where the other end has one too.
    linkCreate(program('sink'), far, attachType.xdp, 'sink on far', nativeXdp);
    linkCreate(program('by_tc'), device, attachType.xdp, 'by_tc on out', nativeXdp);
    linkCreate(program('from_netdev'), device, attachType.tcxIngress, 'from_netdev on out');
    return families.flatMap((f): Figure[] => {
      execFileSync('ip', ['neigh', 'add', f.gateway, 'lladdr', router, 'dev', 'out']);
      bench.prefix(`${f.remote}/${f.bits}`, 700, { flags: ipcache_flag.IPCACHE_REMOTE, node: '198.51.100.3' });
      bench.prefix(`${node[f.key]}/${f.bits}`, 1, { flags: ipcache_flag.IPCACHE_HOST });
      services.put({ address: node[f.key], port: nodePort, protocol: tcp, scope: frontend_scope.SCOPE_EXTERNAL, backends: [{ address: f.remote, port: backendPort }] });
      const mac = withNetlinkIn('/run/netns/weir-bpf-bench-xdp', (netlink) => Buffer.from(links(netlink).find(({ name }) => name === 'out')!.mac).toString('hex').match(/../g)!.join(':'));
      const asked = (): Frame => frame().mac(router, mac).ip(f.client, node[f.key]);
      const opened = bench.runOn('from_netdev', asked().tcp(clientPort, nodePort, 'S').bytes(), device);
      const answered = (): Frame => frame().mac(router, mac).ip(f.remote, node[f.key]);
      const { sport } = fieldsOf(opened.packet);
      bench.runOn('from_netdev', answered().tcp(backendPort, sport, 'SA').bytes(), device);
      const ways = { 'to the backend': asked().tcp(clientPort, nodePort, 'A', payload).bytes(), 'to the client': answered().tcp(backendPort, sport, 'A', payload).bytes() };
      return Object.entries(ways).map(([way, bytes]): Figure => {
        mapUpdate(maps.get('fresh')!.fd, new Uint8Array(4), bytes.subarray(0, headers), 'fresh');
        const perSecond = (name: string): number => {
          const [arrived, forwarded, begin] = [sunk(), bench.datapath.counter(counter.COUNTER_FORWARDED), process.cpuUsage()];
          for (let turn = 0; turn < turns; turn += 1) runXdpLive(program(name), bytes, device, frames);
          const { user, system } = process.cpuUsage(begin);
          const missed = frames * turns - Number(bench.datapath.counter(counter.COUNTER_FORWARDED) - forwarded);
          if (missed !== 0 || sunk() === arrived) throw new Error(`${name}: ${missed} frames were not forwarded, ${sunk() - arrived} came out`);
          return frames * turns / (user + system) * 1e6;
        };
        const found = interleave(['by_xdp', 'by_tc'] as const, rounds, perSecond, () => { bench.records(); });
        const [native, tc] = [found.get('by_xdp')!, found.get('by_tc')!];
        return { name: `${f.family}, ${way}: XDP against tc`, value: median(native), unit: 'frames/s', base: median(tc), ratio: ratio(native, tc) };
      });
    });
  });
}
