// tc programs on an interface: by TCX links where the kernel has them (6.6), else by a clsact qdisc and its filters.
import { closeSync, existsSync, unlinkSync } from 'node:fs';
import { attachType, linkCreateTcx, linkUpdate, openPin, pin } from './bpf.ts';
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
    linkCreateTcx(programFd, 0x7fffffff, attachType.tcxIngress, 'probe');
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
  const object = `${a.program} on ${a.interfaceName}`;
  if (existsSync(a.pinPath)) {
    const link = openPin(a.pinPath);
    try {
      linkUpdate(link, a.programFd, object);
      return;
    } catch (error) {
      // The interface of this pin is gone, and its index may have been given out again.
      if (!(error instanceof KernelError) || error.errno !== errno.ENOLINK) throw error;
      unlinkSync(a.pinPath);
    } finally {
      closeSync(link);
    }
  }
  const link = linkCreateTcx(a.programFd, a.ifindex, a.hook === 'ingress' ? attachType.tcxIngress : attachType.tcxEgress, object);
  try {
    pin(link, a.pinPath);
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
