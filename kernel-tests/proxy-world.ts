// A node of its own for the way through Envoy: the shipped programs and agent/envoy/steering.ts, policies by hand, real sockets, and a small
// transparent TCP proxy in Envoy's place. One namespace each for the node, two workloads and all that is outside.
import { execFileSync } from 'node:child_process';
import { closeSync, mkdirSync, rmdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Hooks, removePins } from '../agent/datapath/hooks.ts';
import { createEndpointVeth, openVeth } from '../agent/endpoint/attachment.ts';
import { proxyInterfaces, startSteering, type Steering } from '../agent/envoy/steering.ts';
import { instanceOf } from '../agent/instance.ts';
import { detectAttachMode } from '../agent/kernel/attach.ts';
import { createVxlan } from '../agent/kernel/bridge.ts';
import { links } from '../agent/kernel/link.ts';
import { Netlink } from '../agent/kernel/netlink.ts';
import { inNetns, isNetns, makeNetns, removeNetns } from '../agent/kernel/netns.ts';
import { cgroupRoot, ensureMounts } from '../agent/node/check.ts';
import { ensureGateway } from '../agent/node/gateway.ts';
import { action, ipcache_flag } from '../bpf/types.gen.ts';
import { slowness } from './programs.ts';
import { Bench } from '../bpf/testing/bench.ts';
import { Python } from '../bpf/testing/sockets.ts';

export const ranges = { ipv4: '10.77.0.0/24', ipv6: 'fd77:77::/64' };
export const a = { name: 'a', id: 1, ipv4: '10.77.0.11', ipv6: 'fd77:77::11', classId: 1 };
export const b = { name: 'b', id: 2, ipv4: '10.77.0.12', ipv6: 'fd77:77::12', classId: 2 };
/** Outside: a server, a workload of another node, clients. */
export const node = { ipv4: '198.51.100.2', ipv6: '2001:db8:51::2' };
export const outside = { ipv4: '198.51.100.1', ipv6: '2001:db8:51::1' };
export const far = { ipv4: '10.78.0.12', ipv6: 'fd77:78::12' };
export const ports = { first: 21_000, count: 16, dns: 21_015 };
export const policies = { open: 0, proxied: 1, direct: 2, denied: 3 } as const;
/** Of Envoy, by direction. */
export const proxyPort = { egress: ports.first, ingress: ports.first + 1 };

const instance = instanceOf('proxy-test');
const paths = { node: '/run/netns/weir-px-node', a: '/run/netns/weir-px-a', b: '/run/netns/weir-px-b', outside: '/run/netns/weir-px-out' } as const;
type Place = keyof typeof paths;
const vxlan = { name: 'vx', port: 8_472, farMac: '02:00:00:00:78:12', nearMac: '02:00:00:00:77:11' } as const;
const farIdentity = 3_001;
export type { Python };
const tcp = 6 << 16;
const mtu = 1_500;

const ip = (place: Place, ...words: string[]): void => { inNetns(paths[place], () => execFileSync('ip', words, { stdio: ['ignore', 'pipe', 'pipe'] })); };

/** Names of what a line of Python may use: a server that says whom it sees, a client, and the proxy. */
const prelude = `
import socket, threading, struct, time, os
def server(address, port):
  s = socket.create_server((address, port), family=socket.AF_INET6 if ':' in address else socket.AF_INET, backlog=64)
  def one(c, who):
    with c:
      while True:
        data = c.recv(65536)
        if not data: return
        if data == b'close': return
        if data == b'later': time.sleep(1)
        c.sendall(('%s %s ' % (who[0], who[1])).encode() + data)
  def loop():
    while True:
      c, who = s.accept()
      threading.Thread(target=one, args=(c, who), daemon=True).start()
  threading.Thread(target=loop, daemon=True).start()
  return s
def connect(address, port, source=None, timeout=${3 * slowness}):
  c = socket.socket(socket.AF_INET6 if ':' in address else socket.AF_INET)
  c.settimeout(timeout)
  if source is not None:
    c.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    c.bind(source)
  c.connect((address, port))
  return c
def say(c, data):
  c.sendall(data)
  return c.recv(65536).decode()
def ask(address, port, source=None, data=b'hello', timeout=${3 * slowness}):
  try:
    with connect(address, port, source, timeout) as c: return say(c, data)
  except ConnectionRefusedError: return 'refused'
  except ConnectionResetError: return 'reset'
  except socket.timeout: return 'timeout'
def proxy(port, mark, upstream, reuse=False):
  made = []
  for family, address, transparent in ((socket.AF_INET, '127.0.0.1', (socket.SOL_IP, 19)), (socket.AF_INET6, '::1', (socket.IPPROTO_IPV6, 75))):
    s = socket.socket(family)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    s.setsockopt(*transparent, 1)
    s.setsockopt(socket.SOL_SOCKET, 36, mark)
    s.bind((address, port))
    s.listen(64)
    made.append(s)
    def pump(c, u, first):
      try:
        while True:
          data = c.recv(65536)
          if not data: break
          u.sendall(first + data)
      except OSError: pass
      for one in (c, u):
        try: one.shutdown(socket.SHUT_RDWR)
        except OSError: pass
    def one(c, who, transparent=transparent, family=family):
      u = socket.socket(family)
      u.setsockopt(*transparent, 1)
      u.setsockopt(socket.SOL_SOCKET, 36, upstream)
      try:
        if reuse: u.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        u.bind((who[0], who[1] if reuse else 0))
        u.connect(c.getsockname()[:2])
      except OSError as e:
        c.sendall(b'upstream %d' % e.errno)
        c.close()
        return
      threading.Thread(target=pump, args=(c, u, b''), daemon=True).start()
      pump(u, c, b'via %d ' % port)
      c.close(); u.close()
    def loop(s=s, one=one):
      try:
        while True:
          c, who = s.accept()
          threading.Thread(target=one, args=(c, who), daemon=True).start()
      except OSError: pass
    threading.Thread(target=loop, daemon=True).start()
  return made
def offload(device, on):
  import array, fcntl
  with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
    for command in (0x15, 0x17): # SIOCETHTOOL: rx and tx checksums
      value = array.array('B', struct.pack('II', command, on))
      fcntl.ioctl(s, 0x8946, struct.pack('16sP', device.encode(), value.buffer_info()[0]))
def hang_up(made):
  for s in made:
    s.shutdown(socket.SHUT_RDWR); s.close()
`;

export class ProxyWorld {
  readonly bench: Bench;
  readonly steering: Steering;
  readonly at: Record<Place, Python>;
  readonly cgroup: string;
  readonly device: number;
  readonly gateway: { readonly ipv4: string; readonly ipv6: string };
  #hooks!: Hooks;
  readonly #netlink: Netlink;
  readonly #ends: Record<string, { readonly ifindex: number; readonly mac: string }> = {};

  private constructor() {
    ProxyWorld.#remove();
    ensureMounts();
    for (const path of Object.values(paths)) makeNetns(path);
    for (const place of Object.keys(paths) as Place[]) ip(place, 'link', 'set', 'lo', 'up');
    this.cgroup = join(cgroupRoot()!, 'weir-test-proxy');
    mkdirSync(this.cgroup, { recursive: true });
    this.bench = new Bench();
    mkdirSync(instance.pinDir, { recursive: true });
    this.#netlink = inNetns(paths.node, () => new Netlink());
    this.device = this.#joinOutside();
    this.steering = this.within(() => this.#build());
    this.gateway = { ipv4: '10.77.0.1', ipv6: 'fd77:77::1' };
    this.at = { node: this.#python('node'), a: this.#python('a'), b: this.#python('b'), outside: this.#python('outside') };
  }

  #python(place: Place): Python { return new Python(paths[place], place === 'node' ? this.cgroup : cgroupRoot()!, prelude); }

  /** The proxy's process ends, with all its sockets, and another comes. */
  async restartNode(): Promise<void> {
    await this.at.node.close();
    this.at.node = this.#python('node');
    await this.at.node.ready();
  }

  static async start(): Promise<ProxyWorld> {
    const world = new ProxyWorld();
    for (const python of Object.values(world.at)) await python.ready();
    return world;
  }

  within<Result>(work: () => Result): Result { return inNetns(paths.node, work); }

  ip(place: Place, ...words: string[]): void { ip(place, ...words); }

  /** `net/ipv4/conf/all/rp_filter`, of the node. */
  sysctl(name: string, value: string): void { this.within(() => { writeFileSync(`/proc/sys/${name}`, value); }); }

  /** What a machine that does not forward leaves to weir's own devices. */
  forwardOwn(): void {
    for (const { name } of links(this.#netlink)) if (name.startsWith(instance.interfacePrefix)) this.sysctl(`net/ipv4/conf/${name}/forwarding`, '1');
  }

  /** How packets go to the other node, whose workload is `far`. */
  route(key: 'ipv4' | 'ipv6', way: 'plain' | 'vxlan'): void {
    const bits = key === 'ipv4' ? 32 : 128;
    this.bench.prefix(`${far[key]}/${bits}`, farIdentity, { classId: 2, flags: ipcache_flag.IPCACHE_REMOTE, node: outside.ipv4 });
    this.bench.prefix(`${outside.ipv4}/32`, way === 'vxlan' ? 6 : 2, { flags: way === 'vxlan' ? ipcache_flag.IPCACHE_NODE : 0, classId: 3, node: outside.ipv4 });
    if (way === 'plain') {
      this.bench.datapath.overlays.set(0, { ifindex: 0, port: 0 });
      ip('node', 'route', 'replace', `${far[key]}/${bits}`, 'via', outside[key]);
      ip('outside', 'route', 'replace', `${a[key]}/${bits}`, 'via', node[key]);
      return;
    }
    ip('node', 'route', 'replace', 'unreachable', `${far[key]}/${bits}`);
    const all = (): ReturnType<typeof links> => links(this.#netlink);
    if (!all().some(({ name }) => name === vxlan.name)) this.#makeTunnel();
    // Its stack in place of a program wants its own address in the frame.
    ip('node', 'neigh', 'replace', far[key], 'lladdr', vxlan.farMac, 'dev', proxyInterfaces(instance)[0], 'nud', 'permanent');
    this.bench.datapath.overlays.set(0, { ifindex: all().find(({ name }) => name === vxlan.name)!.index, port: vxlan.port });
    ip('outside', 'route', 'replace', `${a[key]}/${bits}`, 'encap', 'ip', 'id', String(farIdentity), 'dst', node.ipv4, 'dev', vxlan.name);
  }

  #makeTunnel(): void {
    this.within(() => { createVxlan(this.#netlink, vxlan.name, vxlan.port, mtu - 50); });
    const all = links(this.#netlink);
    const index = all.find(({ name }) => name === vxlan.name)!.index;
    this.within(() => { this.#hooks.attachOverlay({ ifindex: index, name: vxlan.name }); });
    ip('node', 'link', 'set', vxlan.name, 'up');
    ip('outside', 'link', 'add', vxlan.name, 'address', vxlan.farMac, 'mtu', String(mtu - 50), 'type', 'vxlan', 'external', 'dstport', String(vxlan.port));
    ip('outside', 'link', 'set', vxlan.name, 'arp', 'off', 'up');
    for (const own of [a.ipv4, a.ipv6]) ip('outside', 'neigh', 'replace', own, 'lladdr', vxlan.nearMac, 'dev', vxlan.name, 'nud', 'permanent');
  }

  #joinOutside(): number {
    ip('node', 'link', 'add', 'eth0', 'mtu', String(mtu), 'type', 'veth', 'peer', 'name', 'eth0', 'netns', paths.outside.split('/').at(-1)!);
    for (const [place, own, other] of [['node', node, outside], ['outside', outside, node]] as const) {
      ip(place, 'address', 'add', `${own.ipv4}/24`, 'dev', 'eth0');
      ip(place, 'address', 'add', `${own.ipv6}/64`, 'dev', 'eth0', 'nodad');
      ip(place, 'link', 'set', 'eth0', 'up');
      if (place === 'node') for (const gateway of [other.ipv4, other.ipv6]) ip(place, 'route', 'add', 'default', 'via', gateway);
    }
    for (const own of [far.ipv4, far.ipv6]) ip('outside', 'address', 'add', own, 'dev', 'lo');
    return links(this.#netlink).find(({ name }) => name === 'eth0')!.index;
  }

  #build(): Steering {
    const { datapath } = this.bench;
    const hooks = this.#hooks = new Hooks(this.#netlink, detectAttachMode(datapath.object.programs.get('from_workload')!), datapath.object, instance);
    const gateway = ensureGateway(this.#netlink, instance, ranges);
    for (const own of [a, b]) {
      const plan = { interfaceName: `${instance.interfacePrefix}${own.id}`, netns: paths[own.name as Place], ipv4: own.ipv4, ipv6: own.ipv6, mtu };
      const veth = createEndpointVeth(this.#netlink, plan);
      hooks.attachWorkload({ ifindex: veth.ifindex, name: plan.interfaceName });
      openVeth(this.#netlink, plan, veth, gateway);
      this.#ends[own.name] = veth;
      this.judge(own.name as 'a', {});
    }
    hooks.attachNetdev({ ifindex: this.device, name: 'eth0' });
    this.bench.netdev(this.device, node);
    for (const address of [gateway.ipv4, node.ipv4, gateway.ipv6, node.ipv6]) this.bench.prefix(`${address}/${address.includes(':') ? 128 : 32}`, 1, { flags: ipcache_flag.IPCACHE_HOST });
    for (const everything of ['0.0.0.0/0', '::/0']) this.bench.prefix(everything, 2, { classId: 3 });
    this.#writePolicies();
    const steering = startSteering({ instance, netlink: this.#netlink, datapath, hooks, mtu, ports });
    steering.attachListenHook(this.cgroup);
    return steering;
  }

  /** TCP 80 and 8080: as the policy says; all else: allowed. Egress and ingress have one of each kind. */
  #writePolicies(): void {
    for (const [direction, base] of [['egress', 0], ['ingress', 10]] as const) {
      for (const [kind, what] of [['proxied', action.ACTION_PROXY], ['direct', action.ACTION_ALLOW], ['denied', action.ACTION_DENY]] as const) {
        const id = policies[kind] + base;
        const judged = { steps: [{ mask: 1n, action: what }] };
        this.bench.policy(id, { defaultAction: action.ACTION_ALLOW, column: 0, intervals: [
          { lower: 0, steps: [] }, { lower: tcp + 80, ...judged }, { lower: tcp + 81, steps: [] }, { lower: tcp + 8080, ...judged }, { lower: tcp + 8081, steps: [] },
        ] });
        if (kind !== 'proxied') continue;
        for (const interval of [1, 3]) {
          for (const classId of [1, 2, 3]) this.bench.datapath.proxyPorts.set({ bits: 1n, policy: id, interval, class_id: classId }, proxyPort[direction]);
        }
      }
    }
    for (const classId of [1, 2, 3]) this.bench.classWord(classId, 0, 1n);
  }

  /** What a workload's policies say from now on. */
  judge(name: 'a' | 'b', { egress = 'open', ingress = 'open' }: { readonly egress?: keyof typeof policies; readonly ingress?: keyof typeof policies }): void {
    const own = name === 'a' ? a : b;
    const { ifindex, mac } = this.#ends[name]!;
    this.bench.endpoint({ ...own, ifindex, mac, identity: 2_000 + own.id, egress: policies[egress], ingress: ingress === 'open' ? 0 : policies[ingress] + 10 });
    const control = this.bench.datapath.control.get(0)!;
    this.bench.datapath.control.set(0, { ...control, generation: control.generation + 1 });
  }

  /** Both proxies listen, with the marks that Envoy's listeners have. */
  async listen(reuse = false): Promise<void> {
    const { downstream, egressDone, bothDone } = this.steering.marks;
    const python = reuse ? 'True' : 'False';
    await this.at.node.run(`out = proxy(${proxyPort.egress}, ${downstream}, ${egressDone}, ${python}); into = proxy(${proxyPort.ingress}, ${downstream}, ${bothDone}, ${python})`);
  }

  async hangUp(): Promise<void> { await this.at.node.run('hang_up(out); hang_up(into)'); }

  async close(): Promise<void> {
    for (const python of Object.values(this.at)) await python.close();
    this.within(() => { this.steering.stop(); });
    closeSync(this.#netlink.fd);
    this.bench.close();
    ProxyWorld.#remove();
    rmdirSync(this.cgroup);
  }

  static #remove(): void {
    removePins(instance.pinDir);
    rmSync(instance.pinDir, { recursive: true, force: true });
    for (const path of Object.values(paths)) if (isNetns(path)) removeNetns(path);
  }
}
