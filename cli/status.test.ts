// What `status` tells people of an agent's answer.
import { describe, expect, test } from '@jest/globals';
import { told, type Status } from './status.ts';

const status: Status = {
  instance: 'default', pid: 7, startedAt: '2026-11-21T18:00:00.000Z', directory: null, attach: 'tcx', xdp: {}, sockmap: { mode: 'off', messages: 0, bytes: 0, packets: 0, full: 0 }, generation: 3, ranges: { ipv4: '10.217.0.0/16', ipv6: 'fd77::/64' },
  workloads: {}, ready: 0, endpoints: { ready: 0, all: 0 }, policies: { enforced: 0, audited: 0, off: 0, refused: 0 }, identities: 0,
  envoy: null,
  services: { all: 0, frontends: 0, backends: 0, refused: 0, reset: { TCP: 0, UDP: 0 }, resetByPacket: 0 }, nodes: [], problems: [], packets: { forwarded: 0, dropped: 0 }, drops: [],
  connections: { held: 0, most: 100, refused: 0, endpoints: [] }, flows: { capacity: 15, kept: 0, seen: 0, perSecond: 0, lost: {} }, memoryBytes: 0,
};
const some = { all: 2, frontends: 5, backends: 3, refused: 0, reset: { TCP: 0, UDP: 0 }, resetByPacket: 0 };

test('sockets are told of where they are joined', () => {
  const sockmap = { mode: 'marked', messages: 12, bytes: 345, packets: 2, full: 1 };
  expect([told(status)['sockets'], told({ ...status, sockmap })['sockets']]).toEqual([undefined, 'marked: 12 messages from socket to socket, 2 as packets, 1 sockets found no place']);
});

test.each([
  { name: 'nobody', limited: [], line: '1.40.0, process 9, 2 listeners' },
  { name: 'the one with the most, and how many', limited: [{ endpoint: 'shop/a', dropped: 70, refused: 1 }, { endpoint: 'shop/b', dropped: 3, refused: 0 }],
    line: '1.40.0, process 9, 2 listeners, 2 held to their share (shop/a: 70 packets, 1 connections)' },
])('held to their share of Envoy: $name', ({ limited, line }) => {
  expect(told({ ...status, envoy: { running: true, connected: true, pid: 9, version: '1.40.0', listeners: 2, restarts: 0, refused: {}, limited } })['envoy']).toBe(line);
});

describe('services', () => {
  test.each<{ name: string; services: Status['services']; line: string }>([
    { name: 'none', services: status.services, line: 'none' },
    { name: 'nothing was reset', services: some, line: '2, at 5 addresses and ports, with 3 backends; 0 connections reset as theirs went' },
    { name: 'reset by socket', services: { ...some, reset: { TCP: 3, UDP: 1 } }, line: '2, at 5 addresses and ports, with 3 backends; 4 connections reset as theirs went' },
    { name: 'reset by packet', services: { ...some, resetByPacket: 20 }, line: '2, at 5 addresses and ports, with 3 backends; 20 connections reset as theirs went' },
    { name: 'both, and one that was refused', services: { ...some, refused: 1, reset: { TCP: 3, UDP: 1 }, resetByPacket: 20 }, line: '2, at 5 addresses and ports, with 3 backends, 1 not programmed; 24 connections reset as theirs went' },
  ])('$name', ({ services, line }) => {
    expect(told({ ...status, services })['services']).toBe(line);
  });
});
