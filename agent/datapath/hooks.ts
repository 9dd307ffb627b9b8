// Puts the programs on interfaces and takes them off: both hooks of a workload's veth and of a device of the node, the one
// of its overlay; those of sockets on the root of the cgroup tree; and those of Envoy's way.
import { mkdirSync, readdirSync, unlinkSync, existsSync } from 'node:fs';
import { join } from 'node:path';
import type { Instance } from '../instance.ts';
import { attach, attachCgroup, attachNetns, attachXdp, detach, type AttachMode, type Hook, type XdpMode } from '../kernel/attach.ts';
import { attachType } from '../kernel/bpf.ts';
import type { LoadedObject } from '../kernel/object.ts';
import type { Netlink } from '../kernel/netlink.ts';

const workloadHooks: readonly (readonly [Hook, string])[] = [['ingress', 'from_workload'], ['egress', 'to_workload']];
const netdevHooks: readonly (readonly [Hook, string])[] = [['ingress', 'from_netdev'], ['egress', 'to_netdev']];

const overlayHooks: readonly (readonly [Hook, string])[] = [['ingress', 'from_overlay']];
const proxyHooks: readonly (readonly [Hook, string])[] = [['ingress', 'from_proxy']];
/** By program. Of all sockets of the machine: the programs know theirs by network namespace, wherever its processes are. */
export const socketHooks: Readonly<Record<string, number>> = {
  connect4: attachType.connect4, connect6: attachType.connect6, sendmsg4: attachType.sendmsg4, sendmsg6: attachType.sendmsg6,
  recvmsg4: attachType.recvmsg4, recvmsg6: attachType.recvmsg6, getpeername4: attachType.getpeername4, getpeername6: attachType.getpeername6,
  post_bind4: attachType.postBind4, post_bind6: attachType.postBind6, sock_release: attachType.sockRelease,
};

export interface Interface { readonly ifindex: number; readonly name: string }

export class Hooks {
  readonly #netlink: Netlink;
  readonly #mode: AttachMode;
  readonly #programs: LoadedObject['programs'];
  readonly #folder: string;
  readonly #socketFolder: string;
  /** What is to be attached once the maps say what they have to; absent: at once. */
  #held: Map<string, () => void> | undefined;

  /** `held`: nothing is attached before `release`; programs that are there go on. */
  constructor(netlink: Netlink, mode: AttachMode, object: LoadedObject, instance: Instance, held = false) {
    this.#netlink = netlink;
    this.#mode = mode;
    this.#programs = object.programs;
    this.#folder = join(instance.pinDir, 'links');
    this.#socketFolder = join(instance.pinDir, 'sockets');
    for (const folder of [this.#folder, this.#socketFolder]) mkdirSync(folder, { recursive: true });
    if (held) this.#held = new Map();
  }

  /** Attaches what was held, one after the other; what fails is tried again by the next call. */
  release(): void {
    const held = this.#held ?? new Map<string, () => void>();
    for (const [path, attachHeld] of held) {
      attachHeld();
      held.delete(path);
    }
    this.#held = undefined;
  }

  attachWorkload(to: Interface): void { this.#attach(to, workloadHooks); }
  attachNetdev(to: Interface): void { this.#attach(to, netdevHooks); }
  attachOverlay(to: Interface): void { this.#attach(to, overlayHooks); }
  attachProxy(to: Interface): void { this.#attach(to, proxyHooks); }
  detachWorkload(from: Interface): void { this.#detach(from, workloadHooks); }
  detachNetdev(from: Interface): void { this.#detach(from, netdevHooks); }

  /** On a device of the node, by the first of `modes` that it takes; none: what was there comes off. Not held: it does nothing that from_netdev would not. */
  setXdp(on: Interface, modes: readonly XdpMode[]): XdpMode | undefined {
    const { hook: _, ...attachment } = { ...this.#attachment(on, 'ingress', 'xdp_netdev'), programFd: this.#programs.get('xdp_netdev')! };
    if (modes.length > 0) return attachXdp(attachment, modes);
    if (existsSync(attachment.pinPath)) unlinkSync(attachment.pinPath);
    return undefined;
  }

  /** `cgroup`: path of the root of the v2 tree. */
  attachSockets(cgroup: string): void {
    for (const [program, type] of Object.entries(socketHooks)) this.attachSocket(program, this.#programs.get(program)!, type, cgroup);
  }

  attachSocket(program: string, programFd: number, type: number, cgroup: string): void {
    const pinPath = join(this.#socketFolder, program);
    this.#hold(pinPath, () => { attachCgroup({ cgroup, program, programFd, type, pinPath }); });
  }

  detachSocket(program: string): void {
    const pinPath = join(this.#socketFolder, program);
    if (existsSync(pinPath)) unlinkSync(pinPath);
  }

  /** `cgroup`: path of that of Envoy, or of another proxy with its own `pin`: what listens there from now on is known. Not held: versions share
   * the map that it fills (agent/upgrade.ts), and a listener that it has not seen is never known. */
  attachListens(cgroup: string, pin: 'proxy_listens' | 'dns_listens' = 'proxy_listens'): void {
    const pinPath = join(this.#socketFolder, pin);
    attachCgroup({ cgroup, program: 'proxy_listens', programFd: this.#programs.get('proxy_listens')!, type: attachType.sockOps, pinPath });
  }

  /** `netns`: path of the namespace where Envoy is. */
  attachFind(netns: string): void {
    const pinPath = join(this.#socketFolder, 'find_listener');
    this.#hold(pinPath, () => { attachNetns({ netns, program: 'find_listener', programFd: this.#programs.get('find_listener')!, pinPath }); });
  }

  /** What `attachListens` and `attachFind` put on; what is not there is fine. */
  detachProxySockets(): void {
    for (const program of ['find_listener', 'proxy_listens', 'dns_listens']) {
      const pinPath = join(this.#socketFolder, program);
      this.#held?.delete(pinPath);
      if (existsSync(pinPath)) unlinkSync(pinPath);
    }
  }

  /** Pins of links whose interface went while no agent ran. */
  sweep(present: ReadonlySet<number>): void {
    for (const name of readdirSync(this.#folder)) if (!present.has(Number(name.split('-').at(-1)))) unlinkSync(join(this.#folder, name));
  }

  #attach(to: Interface, hooks: typeof workloadHooks): void {
    for (const [hook, program] of hooks) {
      const attachment = { ...this.#attachment(to, hook, program), programFd: this.#programs.get(program)! };
      this.#hold(attachment.pinPath, () => { attach(this.#netlink, this.#mode, attachment); });
    }
  }

  #hold(pinPath: string, now: () => void): void {
    if (this.#held === undefined) now();
    else this.#held.set(pinPath, now);
  }

  #detach(from: Interface, hooks: typeof workloadHooks): void {
    for (const [hook, program] of hooks) {
      const attachment = this.#attachment(from, hook, program);
      this.#held?.delete(attachment.pinPath);
      detach(this.#netlink, this.#mode, attachment);
    }
  }

  #attachment(to: Interface, hook: Hook, program: string) {
    return { ifindex: to.ifindex, interfaceName: to.name, hook, program, pinPath: join(this.#folder, `${program}-${to.ifindex}`) };
  }
}

/** Removes every pin of an instance: programs come off with their links. */
export function removePins(pinDir: string): void {
  if (!existsSync(pinDir)) return;
  for (const entry of readdirSync(pinDir, { withFileTypes: true, recursive: true })) {
    if (!entry.isDirectory()) unlinkSync(join(entry.parentPath, entry.name));
  }
}

