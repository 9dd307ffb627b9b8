// Test only: frames from a seed that a workload, its host or another node could send. Most are right but for one thing; addresses, ports and names of
// datagrams are few, so that connections, replies, errors and fragments meet.
import type { Random } from '../../agent/policy/random-cases.ts';
import { cut } from './fragments.ts';
import { frame, protocol, tag, type Frame } from './packet.ts';

/** `stray`: whom a frame is now and then from or to instead. */
export interface Ways { readonly from: readonly string[]; readonly to: readonly string[]; readonly strayFrom: readonly string[]; readonly strayTo: readonly string[] }
export interface Scene { readonly mac: string; readonly ipv4: Ways; readonly ipv6: Ways }

const ports = [53, 80, 81, 443, 9000];
const flags = ['S', 'S', 'S', 'SA', 'A', 'A', 'FA', 'R', 'RA', 'F', ''];

/** One frame of the scene, or in the name of somebody there. */
export function randomFrame(random: Random, scene: Scene): Uint8Array {
  if (random.chance(0.03)) return arp(random, scene);
  const is6 = random.chance(0.5);
  const network = is6 ? scene.ipv6 : scene.ipv4;
  const from = random.pick(random.chance(0.03) ? network.strayFrom : network.from);
  const to = random.pick((random.chance(0.04) ? network.strayTo : network.to).filter((one) => one !== from));
  let built = payload(random, ip(random, ethernet(random, scene), from, to, is6), to, from, is6);
  if (random.chance(0.02)) built = built.vlan(random.below(4_096), random.pick([tag.vlan, tag.provider]));
  return damaged(random, piece(random, built.bytes()));
}

const ethernet = (random: Random, scene: Scene): Frame => frame().mac(random.chance(0.02) ? '02:00:00:00:00:77' : scene.mac);

function arp(random: Random, scene: Scene): Uint8Array {
  const mine = random.chance(0.6);
  const built = frame().mac(scene.mac).arp(random.pick([1, 2] as const), random.chance(0.8) ? scene.mac : '02:00:00:00:00:77', random.pick(mine ? scene.ipv4.from : scene.ipv4.to), random.pick(scene.ipv4.to));
  return damaged(random, built.bytes());
}

function ip(random: Random, base: Frame, from: string, to: string, is6: boolean): Frame {
  const ttl = random.chance(0.04) ? random.below(3) : 64;
  if (is6) return base.ipv6(from, to, { ttl, extensions: random.chance(0.15) ? random.some(1, 7, () => random.pick([0, 43, 60, 44])) : [] });
  return base.ipv4(from, to, { ttl, options: random.chance(0.1) ? new Array<number>(4 * (1 + random.below(10))).fill(1) : [] });
}

function payload(random: Random, base: Frame, to: string, from: string, is6: boolean): Frame {
  const data = 'x'.repeat(random.below(64));
  const [near, far] = [random.pick(ports), random.pick(ports)];
  switch (random.below(8)) {
    case 0: case 1: case 2: return base.tcp(near, far, random.pick(flags), data);
    case 3: case 4: return base.udp(near, far, data);
    case 5: return base.sctp(near, far);
    case 6: return icmp(random, base, to, from, is6);
    default: return base.raw(random.pick([0, 2, 4, 41, 47, 50, 51, 59, 103, 112, 135, 255, protocol.icmp, protocol.icmp6, protocol.tcp]), new Uint8Array(random.below(48)));
  }
}

/** Echoes, errors about what was sent to or got from the destination, and discovery. */
function icmp(random: Random, base: Frame, to: string, from: string, is6: boolean): Frame {
  if (random.chance(0.4)) return base.icmp(random.pick(is6 ? [128, 129] : [8, 0]), { id: random.below(3) });
  if (is6 && random.chance(0.4)) {
    const target = Uint8Array.from(random.chance(0.5) ? [0xfd, ...new Array<number>(14).fill(0), 1 + random.below(3)] : new Array<number>(16).fill(0));
    return base.raw(protocol.icmp6, Buffer.concat([Buffer.from([130 + random.below(14), 0, 0, 0, 0, 0, 0, 0]), target]));
  }
  const about = payload(random, random.chance(0.7) ? frame().ip(to, from) : frame().ip(from, to), from, to, is6).packet();
  return base.icmp(random.pick(is6 ? [1, 2, 3, 4, 5] : [3, 5, 11, 12]), { code: random.below(6), about: about.subarray(0, random.below(about.length + 1)) });
}

/** One piece of some datagrams. */
function piece(random: Random, bytes: Uint8Array): Uint8Array {
  if (!random.chance(0.1) || bytes.length < 14 + 40 + 16) return bytes;
  return random.pick(cut(bytes, [8 * (1 + random.below(3))], random.below(4)));
}

function damaged(random: Random, bytes: Uint8Array): Uint8Array {
  if (random.chance(0.85)) return bytes;
  if (random.chance(0.4)) return bytes.subarray(0, 14 + random.below(bytes.length - 13));
  const changed = Uint8Array.from(bytes);
  for (let count = 1 + random.below(3); count > 0; count -= 1) changed[12 + random.below(changed.length - 12)] = random.below(256);
  return changed;
}
