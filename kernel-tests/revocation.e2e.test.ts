// End to end: what a change of policy does to traffic that runs, seen in packets and in flows, IPv4 and IPv6.
import { type ChildProcess, spawn } from 'node:child_process';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { shimPath } from '../agent/workload/build.ts';
import { Cluster, pod, policy } from './cluster.ts';
import { idle, server, slowness } from './programs.ts';

const door = 8080;
const deny = policy('default-deny', { endpointSelector: { matchLabels: { app: 'db' } }, ingress: [{}] });
const limitMs = 100 * slowness;

let cluster: Cluster;
beforeAll(async () => {
  cluster = await Cluster.start('revocation', { 'pods.yaml': [pod('db', server(door)), pod('intruder', idle), pod('other', idle)], 'deny.yaml': deny });
  await cluster.until('the server listens', () => cluster.probe('node', [{ kind: 'tcp', to: cluster.end('default/db').ipv4, port: door }])[0] === 'open');
}, 120_000);
afterAll(async () => { await cluster.close(); });

interface FlowLine { readonly flow: { readonly uuid: string; readonly verdict: string; readonly is_reply?: boolean; readonly drop_reason_desc?: string; readonly ingress_denied_by?: { name: string }[]; readonly source?: { pod_name?: string } } }
const flows = (...words: string[]): FlowLine['flow'][] =>
  cluster.weir('observe', '-o', 'jsonpb', ...words).out.trim().split('\n').filter((line) => line !== '').map((line) => (JSON.parse(line) as FlowLine).flow);

/** Runs a command in a workload and hands over its lines with the time at which they came. */
function talk(workload: string, script: string): { child: ChildProcess; lines: { text: string; at: number }[] } {
  const { uid } = cluster.json<{ key: string; uid: string }[]>('db', 'show', 'workloads').find((row) => row.key === workload)!;
  const child = spawn(shimPath, ['exec', join(cluster.instance.stateDir, 'pods', uid), 'main', '--', 'python3', '-u', '-c', script], { stdio: ['ignore', 'pipe', 'inherit'] });
  const lines: { text: string; at: number }[] = [];
  child.stdout!.on('data', (data: Buffer) => { for (const text of data.toString().trim().split('\n')) lines.push({ text, at: performance.now() }); });
  return { child, lines };
}

/** Connects when it can, then echoes every 5 ms; says `connected`, then `pong` for each echo. */
const chatter = (address: string): string => `
import socket, time
while True:
    try: s = socket.create_connection(('${address}', ${door}), timeout=0.05 * ${slowness}); break
    except OSError: pass
print('connected'); s.settimeout(60); s.recv(100)
while True: s.send(b'x'); s.recv(100); print('pong'); time.sleep(0.005)
`;

describe.each(['ipv4', 'ipv6'] as const)('%s', (family) => {
  test('the suggestion lets exactly this flow through within 100 ms, its removal stops both directions within 100 ms', async () => {
    const address = cluster.end('default/db')[family];
    expect(cluster.probe('default/intruder', [{ kind: 'tcp', to: address, port: door }])).toEqual(['silent']);
    const drop = flows('--verdict', 'DROPPED', '--last', '1', '--from-pod', 'default/intruder', '--to-port', String(door))[0]!;
    expect([drop.drop_reason_desc, drop.ingress_denied_by?.map((one) => one.name)]).toEqual(['POLICY_DENIED', ['default-deny']]);

    expect(cluster.weir('explain', '--last-drop').out).toContain('default-deny');
    // Other drops may come from connections that the kernel still retries: this very flow is meant.
    const suggestion = cluster.weir('explain', '--uuid', drop.uuid, '--yaml').out;
    const { child, lines } = talk('default/intruder', chatter(address));
    await sleep(500);
    expect(lines).toEqual([]);

    const written = performance.now();
    cluster.write('suggestion.yaml', suggestion);
    await cluster.until('the intruder connects', () => lines.some(({ text }) => text === 'connected'));
    // Its own attempts time out after half of that, and a lost SYN is sent again after a second: a new attempt counts.
    expect(lines[0]!.at - written).toBeLessThan(1.5 * limitMs);
    expect(cluster.probe('default/other', [{ kind: 'tcp', to: address, port: door }])).toEqual(['silent']);
    await cluster.until('echoes flow', () => lines.filter(({ text }) => text === 'pong').length > 20);

    const removed = performance.now();
    cluster.remove('suggestion.yaml');
    await sleep(10 * limitMs);
    const after = lines.filter(({ at }) => at > removed + limitMs);
    child.kill('SIGKILL');
    expect(after).toEqual([]);
    const stopped = flows('--verdict', 'DROPPED', '--last', '50', '--pod', 'default/intruder').filter((flow) => flow.drop_reason_desc === 'POLICY_DENIED');
    expect(stopped.length).toBeGreaterThan(0);
    expect(stopped.every((flow) => flow.ingress_denied_by?.[0]?.name === 'default-deny')).toBe(true);
  });

  test('the other direction of a revoked connection drops as well, each packet a flow with its reason', async () => {
    const address = cluster.end('default/db')[family];
    cluster.write('allow.yaml', policy('allow', { endpointSelector: { matchLabels: { app: 'db' } }, ingress: [{ fromEndpoints: [{ matchLabels: { app: 'intruder' } }] }] }));
    // The server speaks, the client only listens: what is sent after the change goes against the direction that was judged.
    const speaker = talk('default/db', `
import socket, time
l = socket.create_server(('::', 7070), family=socket.AF_INET6, dualstack_ipv6=True); l.settimeout(10)
s, _ = l.accept(); print('accepted')
while True: s.send(b'x'); time.sleep(0.02)
`);
    const listener = talk('default/intruder', `
import socket, time
while True:
    try: s = socket.create_connection(('${address}', 7070), timeout=0.1); break
    except OSError: time.sleep(0.05)
s.settimeout(60)
while s.recv(1): print('byte')
`);
    await cluster.until('bytes flow', () => listener.lines.length > 10);
    const removed = performance.now();
    cluster.remove('allow.yaml');
    await sleep(15 * limitMs);
    for (const { child } of [speaker, listener]) child.kill('SIGKILL');
    expect(listener.lines.filter(({ at }) => at > removed + limitMs)).toEqual([]);
    const replies = flows('--verdict', 'DROPPED', '--last', '30', '--from-pod', 'default/db');
    expect(replies.length).toBeGreaterThan(0);
    expect(replies.every((flow) => flow.is_reply === true && flow.drop_reason_desc === 'POLICY_DENIED')).toBe(true);
  });
});
