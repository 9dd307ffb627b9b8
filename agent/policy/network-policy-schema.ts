// The shape of networking.k8s.io/v1 NetworkPolicy.
import { anything, choice, fail, integer, list, object, text, type Shape } from './check.ts';
import { cidr, cidrForm, isInside, portText } from './formats.ts';
import { metadata } from './metadata.ts';
import { labelSelector } from './selector-shape.ts';

const selector = labelSelector('any');

const portValue: Shape = (value, path, report) => {
  if (typeof value === 'number') integer('port', 1, 65535)(value, path, report);
  else text('port', { test: (name) => (/^[0-9]+$/.test(name) ? 'must be a number without quotes, or a name' : portText(name)) })(value, path, report);
};

const port: Shape = (value, path, report) => {
  object('a port', {
    port: portValue, endPort: integer('endPort', 1, 65535), protocol: choice('protocol', ['TCP', 'UDP', 'SCTP']),
  })(value, path, report);
  const { port: low, endPort: high } = (value ?? {}) as { port?: unknown; endPort?: unknown };
  if (high === undefined || high === null) return;
  if (typeof low !== 'number') fail(report, [...path, 'endPort'], 'endPort needs a port that is a number');
  else if (Number(high) < low) fail(report, [...path, 'endPort'], `endPort ${String(high)} is below port ${low}`);
};

const block: Shape = (value, path, report) => {
  object('ipBlock', {
    cidr: text('cidr', { test: cidr, form: cidrForm }), except: list('except', text('except', { test: cidr, form: cidrForm })),
  }, { required: ['cidr'] })(value, path, report);
  const { cidr: outer, except } = (value ?? {}) as { cidr?: unknown; except?: unknown };
  if (typeof outer !== 'string' || !Array.isArray(except)) return;
  except.forEach((one, index) => {
    if (typeof one === 'string' && !isInside(outer, one)) fail(report, [...path, 'except', index], `except ${one} is not inside ${outer}`);
  });
};

const peer: Shape = (value, path, report) => {
  object('a peer', { podSelector: selector, namespaceSelector: selector, ipBlock: block })(value, path, report);
  const fields = Object.keys((value ?? {}) as object);
  if (fields.length === 0) fail(report, path, 'a peer needs podSelector, namespaceSelector or ipBlock');
  if (fields.includes('ipBlock') && fields.length > 1) fail(report, path, 'ipBlock cannot stand beside podSelector or namespaceSelector');
};

const entry = (direction: 'ingress' | 'egress', peers: 'from' | 'to'): Shape => object(`an entry of ${direction}`, {
  [peers]: list(peers, peer), ports: list('ports', port),
}, { hints: { [peers === 'from' ? 'to' : 'from']: `in ${direction} the field is \`${peers}\``, toPorts: 'did you mean `ports`?' } });

export const networkPolicy = object('the policy', {
  apiVersion: choice('apiVersion', ['networking.k8s.io/v1']),
  kind: choice('kind', ['NetworkPolicy']),
  metadata,
  spec: object('spec', {
    podSelector: selector,
    ingress: list('ingress', entry('ingress', 'from')),
    egress: list('egress', entry('egress', 'to')),
    policyTypes: list('policyTypes', choice('a policy type', ['Ingress', 'Egress']), { max: 2 }),
  }, { hints: { endpointSelector: 'did you mean `podSelector`?' } }),
  status: anything,
}, { required: ['apiVersion', 'kind', 'spec'] });
