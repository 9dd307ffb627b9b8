// The shape of livenessProbe, readinessProbe and startupProbe of a container. A probe goes to its own workload and nowhere else.
import { choice, fail, integer, isAbsent, isObject, list, text, type Path, type Report, type Shape } from '../policy/check.ts';
import { fieldsOf, refused } from './pods-shape.ts';

/** Checked by `probeShape`; null counts as absent. */
export interface WrittenProbe {
  readonly exec?: { readonly command: readonly string[] } | null;
  readonly tcpSocket?: { readonly port: number | string } | null;
  readonly httpGet?: {
    readonly port: number | string; readonly path?: string | null; readonly scheme?: 'HTTP' | 'HTTPS' | null;
    readonly httpHeaders?: readonly { readonly name: string; readonly value: string }[] | null;
  } | null;
  readonly initialDelaySeconds?: number | null;
  readonly periodSeconds?: number | null;
  readonly timeoutSeconds?: number | null;
  readonly successThreshold?: number | null;
  readonly failureThreshold?: number | null;
  readonly terminationGracePeriodSeconds?: number | null;
}

const maxSeconds = 86_400;
const maxThreshold = 1_000;
const maxItems = 64;
const maxTextBytes = 4_096;
const actions = ['exec', 'tcpSocket', 'httpGet'] as const;

const portNumber = integer('port', 1, 65535);
const portName = text('port');
/** Whether a name is one of the container's is looked at in `checkPorts`. */
const port: Shape = (value, path, report) => { (typeof value === 'string' ? portName : portNumber)(value, path, report); };

const ownAddress = refused('a probe goes to its own workload', 'delete host', (value) => value === '');
const plain = (what: string): Shape => text(what, { max: maxTextBytes, test: (value) => (/[\0\r\n]/.test(value) ? 'must be one line' : undefined) });
const token = text('name', { max: maxTextBytes, test: (value) => (/^[-!#$%&'*+.^_`|~0-9A-Za-z]+$/.test(value) ? undefined : 'is not the name of a header') });

const exec = fieldsOf('exec', { command: list('command', text('an item of command', { test: (word) => (word.includes('\0') ? 'must not hold a NUL character' : undefined) }), { min: 1, max: maxItems }) }, {},
  { required: ['command'], form: 'write {command: [PROGRAM, ARGUMENT]}' });
const tcpSocket = fieldsOf('tcpSocket', { port }, { host: ownAddress }, { required: ['port'], form: 'write {port: 8080}' });
const httpGet = fieldsOf('httpGet', {
  port, path: plain('path'), scheme: choice('scheme', ['HTTP', 'HTTPS']),
  httpHeaders: list('httpHeaders', fieldsOf('a header', { name: token, value: plain('value') }, {}, { required: ['name', 'value'] }), { max: maxItems }),
}, { host: ownAddress }, { required: ['port'], form: 'write {path: /, port: 8080}', hints: { url: 'write path and port' } });

const fields = (name: string): Shape => fieldsOf(name, {
  exec, tcpSocket, httpGet,
  initialDelaySeconds: integer('initialDelaySeconds', 0, maxSeconds), periodSeconds: integer('periodSeconds', 1, maxSeconds),
  timeoutSeconds: integer('timeoutSeconds', 1, maxSeconds), successThreshold: integer('successThreshold', 1, maxThreshold),
  failureThreshold: integer('failureThreshold', 1, maxThreshold), terminationGracePeriodSeconds: integer('terminationGracePeriodSeconds', 1, maxSeconds),
}, { grpc: refused('grpc is not handled yet', 'write tcpSocket, httpGet or exec') }, { form: 'write {httpGet: {path: /, port: 8080}}' });

export const probeShape = (name: 'livenessProbe' | 'readinessProbe' | 'startupProbe'): Shape => {
  const shape = fields(name);
  return (value, path, report) => {
    shape(value, path, report);
    if (!isObject(value)) return;
    const there = actions.filter((action) => !isAbsent(value[action]));
    if (there.length !== 1 && isAbsent(value['grpc'])) {
      fail(report, path, `${name} needs exactly one of ${actions.join(', ')}; ${there.length === 0 ? 'none is there' : `${there.join(' and ')} are there`}`);
    }
    if (name === 'readinessProbe' && !isAbsent(value['terminationGracePeriodSeconds'])) {
      fail(report, [...path, 'terminationGracePeriodSeconds'], 'a readinessProbe ends nothing', 'delete it');
    }
    const successes = value['successThreshold'];
    if (name !== 'readinessProbe' && typeof successes === 'number' && successes > 1) fail(report, [...path, 'successThreshold'], `successThreshold of a ${name} is 1`, 'delete it');
  };
};

const probeNames = ['livenessProbe', 'readinessProbe', 'startupProbe'] as const;

/** A port by name is a TCP port of the same container. */
export function checkPorts(container: Record<string, unknown>, path: Path, report: Report): void {
  const ports = Array.isArray(container['ports']) ? container['ports'] as unknown[] : [];
  const names = ports.flatMap((one) => (isObject(one) && typeof one['name'] === 'string' && (one['protocol'] ?? 'TCP') === 'TCP' ? [one['name']] : []));
  for (const name of probeNames) {
    const probe = container[name];
    if (!isObject(probe)) continue;
    for (const action of ['tcpSocket', 'httpGet']) {
      const target = probe[action];
      if (!isObject(target) || typeof target['port'] !== 'string' || names.includes(target['port'])) continue;
      fail(report, [...path, name, action, 'port'], `the container has no TCP port called \`${target['port']}\``,
        names.length === 0 ? 'name it under ports, or write its number' : `it has ${names.join(', ')}`);
    }
  }
}
