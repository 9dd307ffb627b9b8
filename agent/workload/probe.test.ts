// Probes without processes: what is written and what becomes of it, and what a row of answers makes of a container.
import { describe, expect, test } from '@jest/globals';
import { readManifests } from '../directory/reader.ts';
import { derivePods } from './pods.ts';
import { ProbeState, type Standing } from './probe-state.ts';
import type { ProbeKind, Probes, ProbeSpec } from './probe-spec.ts';

function derive(fields: string) {
  const { objects, problems } = readManifests(`apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec:\n  containers:\n  - name: x\n    command: [run]\n    ${fields}\n`, 'f');
  expect(problems).toEqual([]);
  return derivePods(objects.map(({ row }) => row), { allowRoot: false });
}

const defaults = { initialDelayMs: 0, periodMs: 10_000, timeoutMs: 1_000, successThreshold: 1, failureThreshold: 3 };
const http = { kind: 'http', port: 80, path: '/', tls: false, headers: {} } as const;

interface Written { readonly name: string; readonly fields: string; readonly probes: Probes }
const written: readonly Written[] = [
  { name: 'exec with the defaults', fields: 'livenessProbe: {exec: {command: [cat, /tmp/ok]}}', probes: { liveness: { ...defaults, action: { kind: 'exec', command: ['cat', '/tmp/ok'] } } } },
  { name: 'tcp', fields: 'readinessProbe: {tcpSocket: {port: 80}}', probes: { readiness: { ...defaults, action: { kind: 'tcp', port: 80 } } } },
  {
    name: 'all numbers', fields: 'readinessProbe: {tcpSocket: {port: 80}, initialDelaySeconds: 1, periodSeconds: 2, timeoutSeconds: 3, successThreshold: 4, failureThreshold: 5}',
    probes: { readiness: { initialDelayMs: 1_000, periodMs: 2_000, timeoutMs: 3_000, successThreshold: 4, failureThreshold: 5, action: { kind: 'tcp', port: 80 } } },
  },
  { name: 'http with the defaults', fields: 'startupProbe: {httpGet: {port: 80}}', probes: { startup: { ...defaults, action: http } } },
  {
    name: 'http with everything', fields: 'readinessProbe: {httpGet: {port: 80, path: healthz, scheme: HTTPS, httpHeaders: [{name: Host, value: web}]}}',
    probes: { readiness: { ...defaults, action: { ...http, path: '/healthz', tls: true, headers: { Host: 'web' } } } },
  },
  { name: 'a port by name', fields: 'ports: [{name: web, containerPort: 8080}]\n    readinessProbe: {httpGet: {port: web}}', probes: { readiness: { ...defaults, action: { ...http, port: 8080 } } } },
  { name: 'its own grace', fields: 'livenessProbe: {tcpSocket: {port: 80}, terminationGracePeriodSeconds: 7}', probes: { liveness: { ...defaults, graceMs: 7_000, action: { kind: 'tcp', port: 80 } } } },
  { name: 'null counts as absent', fields: 'livenessProbe: null\n    readinessProbe: {tcpSocket: {port: 80}, exec: null, periodSeconds: null}', probes: { readiness: { ...defaults, action: { kind: 'tcp', port: 80 } } } },
];

describe('what is written', () => {
  test.each(written)('$name', ({ fields, probes }) => {
    const { pods, problems } = derive(fields);
    expect(problems).toEqual([]);
    expect(pods[0]!.containers[0]!.probes).toEqual(probes);
  });

  const at = 'spec.containers[0]';
  test.each([
    { name: 'no action', fields: 'livenessProbe: {periodSeconds: 1}', line: `8:5 ${at}.livenessProbe: Pod a: livenessProbe needs exactly one of exec, tcpSocket, httpGet; none is there` },
    { name: 'two actions', fields: 'livenessProbe: {tcpSocket: {port: 1}, exec: {command: [x]}}', line: `8:5 ${at}.livenessProbe: Pod a: livenessProbe needs exactly one of exec, tcpSocket, httpGet; exec and tcpSocket are there` },
    { name: 'grpc', fields: 'livenessProbe: {grpc: {port: 1}}', line: `8:21 ${at}.livenessProbe.grpc: Pod a: grpc is not handled yet` },
    { name: 'another host', fields: 'readinessProbe: {tcpSocket: {port: 1, host: 10.0.0.1}}', line: `8:43 ${at}.readinessProbe.tcpSocket.host: Pod a: a probe goes to its own workload` },
    { name: 'a port out of range', fields: 'readinessProbe: {tcpSocket: {port: 0}}', line: `8:34 ${at}.readinessProbe.tcpSocket.port: Pod a: port must be a whole number from 1 to 65535; found the number 0` },
    { name: 'a port of no name', fields: 'readinessProbe: {httpGet: {port: web}}', line: `8:32 ${at}.readinessProbe.httpGet.port: Pod a: the container has no TCP port called \`web\`` },
    { name: 'a UDP port by name', fields: 'ports: [{name: web, containerPort: 1, protocol: UDP}]\n    readinessProbe: {httpGet: {port: web}}', line: `9:32 ${at}.readinessProbe.httpGet.port: Pod a: the container has no TCP port called \`web\`` },
    { name: 'a liveness probe with several successes', fields: 'livenessProbe: {tcpSocket: {port: 1}, successThreshold: 2}', line: `8:43 ${at}.livenessProbe.successThreshold: Pod a: successThreshold of a livenessProbe is 1` },
    { name: 'a period of 0', fields: 'livenessProbe: {tcpSocket: {port: 1}, periodSeconds: 0}', line: `8:43 ${at}.livenessProbe.periodSeconds: Pod a: periodSeconds must be a whole number from 1 to 86400; found the number 0` },
    { name: 'a header with a line break', fields: 'livenessProbe: {httpGet: {port: 1, httpHeaders: [{name: A, value: "x\\ny"}]}}', line: `8:64 ${at}.livenessProbe.httpGet.httpHeaders[0].value: Pod a: value must be one line; found "x\\ny"` },
    { name: 'a slip', fields: 'livenessProbe: {httpget: {port: 1}}', line: `8:21 ${at}.livenessProbe.httpget: Pod a: unknown field \`httpget\`; livenessProbe has exec, tcpSocket, httpGet, initialDelaySeconds, periodSeconds, timeoutSeconds, successThreshold, failureThreshold, terminationGracePeriodSeconds` },
  ])('refused: $name', ({ fields, line }) => {
    const { pods, problems } = derive(fields);
    expect(pods).toEqual([]);
    expect(problems.map(({ source, field, message }) => `${source.line}:${source.column} ${field}: ${message}`)).toContain(line);
  });
});

const probe = (more: Partial<ProbeSpec> = {}): ProbeSpec => ({ ...defaults, action: { kind: 'tcp', port: 1 }, ...more });
const ready = probe({ successThreshold: 2, failureThreshold: 2 });

interface Row { readonly name: string; readonly probes: Probes; readonly kept?: Standing; readonly answers: readonly (readonly [ProbeKind, boolean])[]; readonly verdicts: readonly string[]; readonly standing: Standing }
const rows: readonly Row[] = [
  { name: 'no readiness probe: ready at once', probes: { liveness: probe() }, answers: [], verdicts: [], standing: { begun: true, ready: true } },
  { name: 'not ready before its successes', probes: { readiness: ready }, answers: [['readiness', true]], verdicts: ['same'], standing: { begun: true, ready: false } },
  { name: 'ready after them', probes: { readiness: ready }, answers: [['readiness', true], ['readiness', true]], verdicts: ['same', 'changed'], standing: { begun: true, ready: true } },
  { name: 'a failure between counts from anew', probes: { readiness: ready }, answers: [['readiness', true], ['readiness', false], ['readiness', true]], verdicts: ['same', 'same', 'same'], standing: { begun: true, ready: false } },
  { name: 'one failure of two changes nothing', probes: { readiness: ready }, kept: { begun: true, ready: true }, answers: [['readiness', false]], verdicts: ['same'], standing: { begun: true, ready: true } },
  { name: 'two do', probes: { readiness: ready }, kept: { begun: true, ready: true }, answers: [['readiness', false], ['readiness', false]], verdicts: ['same', 'changed'], standing: { begun: true, ready: false } },
  { name: 'liveness: three in a row', probes: { liveness: probe() }, answers: [['liveness', false], ['liveness', false], ['liveness', true], ['liveness', false], ['liveness', false], ['liveness', false]], verdicts: ['same', 'same', 'same', 'same', 'same', 'restart'], standing: { begun: true, ready: true } },
  { name: 'startup holds the others back', probes: { startup: probe(), readiness: probe(), liveness: probe({ failureThreshold: 1 }) }, answers: [['readiness', true], ['liveness', false]], verdicts: ['same', 'same'], standing: { begun: false, ready: false } },
  { name: 'startup without readiness: ready', probes: { startup: probe() }, answers: [['startup', false], ['startup', true], ['startup', true]], verdicts: ['same', 'changed', 'same'], standing: { begun: true, ready: true } },
  { name: 'startup, then readiness', probes: { startup: probe(), readiness: probe() }, answers: [['startup', true], ['readiness', true]], verdicts: ['changed', 'changed'], standing: { begun: true, ready: true } },
  { name: 'startup that never comes', probes: { startup: probe({ failureThreshold: 2 }) }, answers: [['startup', false], ['startup', false]], verdicts: ['same', 'restart'], standing: { begun: false, ready: false } },
];

describe('what answers make', () => {
  test.each(rows)('$name', ({ probes, kept, answers, verdicts, standing }) => {
    const state = new ProbeState(probes, kept);
    expect(answers.map(([kind, ok]) => state.answer(kind, ok))).toEqual(verdicts);
    expect(state.standing).toEqual(standing);
  });
});
