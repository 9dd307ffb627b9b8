// tc programs on an interface: by TCX links where the kernel has them (6.6), else by a clsact qdisc and its filters. Socket programs on a
// cgroup or in a network namespace: by links.
import { closeSync, existsSync, openSync, unlinkSync } from 'node:fs';
import { attachType, linkCreate, linkUpdate, openPin, pin } from './bpf.ts';
import { errno, KernelError } from './errors.ts';
import { encodeAttributes, flag, message, tolerate, type Netlink } from './netlink.ts';

export type Hook = 'ingress' | 'egress';
export type AttachMode = 'tcx' | 'clsact';

export interface Attachment {
  readonly ifindex: number;
  readonly interfaceName: string;
  readonly hook: Hook;
  readonly program: string;
  readonly programFd: number;
  /** Where the TCX link is pinned; the attachment outlives the agent there. */
  readonly pinPath: string;
}

const clsact = { parent: 0xfffffff1, handle: 0xffff0000, ingress: 0xfffffff2, egress: 0xfffffff3 } as const;
const tca = { kind: 1, options: 2, bpfFd: 6, bpfName: 7, bpfFlags: 8 } as const;
const directAction = 1;
const everyProtocol = 0x0300; // ETH_P_ALL in network order
const priority = 1;

/** Whether this kernel attaches by TCX: tried on an interface that does not exist, which tells the two refusals apart. */
export function detectAttachMode(programFd: number): AttachMode {
  try {
    linkCreate(programFd, 0x7fffffff, attachType.tcxIngress, 'probe');
  } catch (error) {
    if (error instanceof KernelError && error.errno === errno.ENODEV) return 'tcx';
  }
  return 'clsact';
}

/** Attaches, or replaces the program of an attachment that is there, at one instant. */
export function attach(netlink: Netlink, mode: AttachMode, a: Attachment): void {
  if (mode === 'tcx') attachTcx(a);
  else attachClsact(netlink, a);
}

function attachTcx(a: Attachment): void {
  attachLink(a.programFd, a.ifindex, a.hook === 'ingress' ? attachType.tcxIngress : attachType.tcxEgress, a.pinPath, `${a.program} on ${a.interfaceName}`);
}

/** `native`: the driver runs the program; `generic`: the kernel does, after it has made an skb. */
export type XdpMode = 'native' | 'generic';
/** XDP_FLAGS_DRV_MODE, XDP_FLAGS_SKB_MODE (linux/if_link.h). */
const xdpFlags = { native: 1 << 2, generic: 1 << 1 } as const;

/** By the first mode that the device takes; one that is attached goes first, as links keep theirs. Throws where it takes none. */
export function attachXdp(a: Omit<Attachment, 'hook'>, modes: readonly XdpMode[]): XdpMode {
  if (existsSync(a.pinPath)) unlinkSync(a.pinPath);
  for (const [index, mode] of modes.entries()) {
    try {
      const link = linkCreate(a.programFd, a.ifindex, attachType.xdp, `${a.program} on ${a.interfaceName} (${mode})`, xdpFlags[mode]);
      try {
        pin(link, a.pinPath);
      } finally {
        closeSync(link);
      }
      return mode;
    } catch (error) {
      if (!(error instanceof KernelError) || index === modes.length - 1) throw error;
    }
  }
  throw new Error('no mode');
}

export interface CgroupAttachment {
  /** Path of the cgroup: its sockets and those of all below. */
  readonly cgroup: string;
  readonly program: string;
  readonly programFd: number;
  readonly type: number;
  readonly pinPath: string;
}

/** Beside what others attach there; a cgroup takes 64 programs of a type (BPF_CGROUP_MAX_PROGS). */
export function attachCgroup(a: CgroupAttachment): void {
  const cgroup = openSync(a.cgroup, 'r');
  try {
    attachLink(a.programFd, cgroup, a.type, a.pinPath, `${a.program} on ${a.cgroup}`);
  } finally {
    closeSync(cgroup);
  }
}

/** A program that finds sockets (sk_lookup), in the network namespace at `netns`. */
export function attachNetns(a: Omit<CgroupAttachment, 'cgroup' | 'type'> & { readonly netns: string }): void {
  const netns = openSync(a.netns, 'r');
  try {
    attachLink(a.programFd, netns, attachType.skLookup, a.pinPath, `${a.program} in ${a.netns}`);
  } finally {
    closeSync(netns);
  }
}

function attachLink(programFd: number, target: number, type: number, pinPath: string, object: string): void {
  if (existsSync(pinPath)) {
    const link = openPin(pinPath);
    try {
      linkUpdate(link, programFd, object);
      return;
    } catch (error) {
      // The interface, cgroup or namespace of this pin is gone, and its number may have been given out again.
      if (!(error instanceof KernelError) || error.errno !== errno.ENOLINK) throw error;
      unlinkSync(pinPath);
    } finally {
      closeSync(link);
    }
  }
  const link = linkCreate(programFd, target, type, object);
  try {
    pin(link, pinPath);
  } finally {
    closeSync(link);
  }
}

function trafficControl(ifindex: number, handle: number, parent: number, info: number): Buffer {
  const body = Buffer.alloc(20);
  body.writeInt32LE(ifindex, 4);
  body.writeUInt32LE(handle, 8);
  body.writeUInt32LE(parent, 12);
  body.writeUInt32LE(info, 16);
  return body;
}

function attachClsact(netlink: Netlink, a: Attachment): void {
  const object = `${a.program} on ${a.interfaceName}`;
  const qdisc = Buffer.concat([trafficControl(a.ifindex, clsact.handle, clsact.parent, 0), encodeAttributes([[tca.kind, 'clsact']])]);
  tolerate(['EEXIST'], () => { netlink.request(message.newQdisc, flag.create | flag.exclusive, qdisc, object, 'RTM_NEWQDISC'); });
  const parent = a.hook === 'ingress' ? clsact.ingress : clsact.egress;
  const filter = Buffer.concat([
    trafficControl(a.ifindex, 1, parent, ((priority << 16) | everyProtocol) >>> 0),
    encodeAttributes([[tca.kind, 'bpf'], [tca.options, [[tca.bpfFd, a.programFd], [tca.bpfName, a.program], [tca.bpfFlags, directAction]]]]),
  ]);
  netlink.request(message.newFilter, flag.create | flag.replace, filter, object, 'RTM_NEWTFILTER');
}

/** Takes off what `attach` put on; what is not there is fine. A clsact qdisc that others may use stays. */
export function detach(netlink: Netlink, mode: AttachMode, a: Omit<Attachment, 'programFd'>): void {
  if (mode === 'tcx') {
    if (existsSync(a.pinPath)) unlinkSync(a.pinPath);
    return;
  }
  const parent = a.hook === 'ingress' ? clsact.ingress : clsact.egress;
  const body = Buffer.concat([trafficControl(a.ifindex, 1, parent, ((priority << 16) | everyProtocol) >>> 0), encodeAttributes([[tca.kind, 'bpf']])]);
  tolerate(['ENOENT', 'ENODEV', 'EINVAL'], () => {
    netlink.request(message.deleteFilter, 0, body, `${a.program} on ${a.interfaceName}`, 'RTM_DELTFILTER');
  });
}
