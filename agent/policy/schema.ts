// The shape of CiliumNetworkPolicy and CiliumClusterwideNetworkPolicy: fields, types, choices, limits.
// What holds between fields is in semantics.ts.
import { anything, choice, flag, integer, list, map, object, text, type Shape } from './check.ts';
import { ENTITIES } from './entities.ts';
import { cidr, cidrForm, headerName, headerText, headerValue, matchName, matchPattern, objectName, portText, printable, regexForm, regularExpression, serverName } from './formats.ts';
import { icmpType } from './icmp.ts';
import { MAX_HEADERS, MAX_HTTP_RULES, MAX_REGEX, MAX_SERVER_NAMES } from './l7.ts';
import { peerForm, portForm, toPortsForm } from './mend.ts';
import { metadata } from './metadata.ts';
import { labelSelector } from './selector-shape.ts';

const MAX_PORTS = 40;
const selector = labelSelector('any');

const secret = object('secret', { namespace: text('namespace'), name: text('name') }, { required: ['name'] });
const tls = object('a TLS context', {
  secret, trustedCA: text('trustedCA'), certificate: text('certificate'), privateKey: text('privateKey'),
}, { required: ['secret'] });

const port = object('a port', {
  port: text('port', { test: portText }),
  endPort: integer('endPort', 0, 65535),
  protocol: choice('protocol', ['TCP', 'UDP', 'SCTP', 'ANY'], {
    ...Object.fromEntries(['VRRP', 'IGMP', 'GRE', 'IPIP', 'IPV6', 'ESP', 'AH'].map((name) =>
      [name, 'protocols without ports need the extended IP protocols, which weir does not support yet'])),
    ICMP: 'ICMP stands in `icmps: [{fields: [{type: 8, family: IPv4}]}]`, beside other entries',
    ICMPv6: 'ICMPv6 stands in `icmps: [{fields: [{type: 128, family: IPv6}]}]`, beside other entries',
  }),
}, { required: ['port'], form: (value) => `write ${portForm(value)}` });

const regex = (name: string): Shape => text(name, { max: MAX_REGEX, test: regularExpression, form: regexForm });
const http = object('an HTTP rule', {
  path: regex('path'), method: regex('method'), host: regex('host'),
  headers: list('headers', text('a header', { test: headerText }), { max: MAX_HEADERS }),
  headerMatches: list('headerMatches', object('a header match', {
    mismatch: choice('mismatch', ['LOG', 'ADD', 'DELETE', 'REPLACE']), name: text('name', { test: headerName }), secret, value: text('value', { test: headerValue }),
  }, { required: ['name'] }), { max: MAX_HEADERS }),
});

const dnsFields = { matchName: text('matchName', { max: 255, test: matchName }), matchPattern: text('matchPattern', { max: 255, test: matchPattern }) };
const dnsSelector = (name: string): Shape => object(name, dnsFields, { oneOf: ['matchName', 'matchPattern'] });

const kafka = object('a Kafka rule', {
  role: choice('role', ['produce', 'consume']), apiKey: text('apiKey'), apiVersion: text('apiVersion'),
  clientID: text('clientID'), topic: text('topic', { max: 255 }),
});

const l7Rules: Shape = (value, path, report) => {
  const generic = typeof value === 'object' && value !== null && 'l7proto' in value;
  object('rules', {
    http: list('http', http, { max: MAX_HTTP_RULES }), dns: list('dns', dnsSelector('a DNS rule')), kafka: list('kafka', kafka),
    l7proto: text('l7proto'), l7: list('l7', map('an L7 rule', text('value'))),
  }, { oneOf: generic ? ['http', 'dns', 'kafka', 'l7proto'] : ['http', 'dns', 'kafka'] })(value, path, report);
};

const listener = object('listener', {
  envoyConfig: object('envoyConfig', {
    kind: choice('kind', ['CiliumEnvoyConfig', 'CiliumClusterwideEnvoyConfig']), name: text('name'),
  }, { required: ['name'] }),
  name: text('name'), priority: integer('priority', 1, 100),
}, { required: ['envoyConfig', 'name'] });

const serverNames = list('serverNames', text('a server name', { max: 255, test: serverName }), { min: 1, max: MAX_SERVER_NAMES });
const ports = list('ports', port, { max: MAX_PORTS });
const portHints = { port: toPortsForm, protocol: toPortsForm, endPort: toPortsForm };

/** The whole item is needed for the right form, so the misplaced port is told here once. */
function portRule(name: string, fields: Record<string, Shape>): Shape {
  const shape = object(name, fields, { hints: portHints, form: toPortsForm });
  return (value, path, report) => shape(value, path, (problem) => report(
    problem.path.length === path.length + 1 && Object.hasOwn(portHints, String(problem.path.at(-1)))
      ? { ...problem, mend: toPortsForm(value) } : problem));
}

const toPorts = (allow: boolean): Shape => list('toPorts', portRule('an item of toPorts', allow
  ? { ports, terminatingTLS: tls, originatingTLS: tls, serverNames, listener, rules: l7Rules }
  : { ports }), { form: toPortsForm });

const icmps = list('icmps', object('an item of icmps', {
  fields: list('fields', object('an ICMP field', {
    family: choice('family', ['IPv4', 'IPv6']),
    type: (value, path, report) => {
      const known = (typeof value === 'number' || typeof value === 'string')
        && (icmpType('IPv4', value) !== undefined || icmpType('IPv6', value) !== undefined);
      if (!known) text('type', { test: () => 'must be a number from 0 to 255 or the name of an ICMP type such as EchoRequest' })(String(value), path, report);
    },
  }, { required: ['type'] }), { max: MAX_PORTS }),
}));

const cidrSet = object('an item of a CIDRSet', {
  cidr: text('cidr', { test: cidr, form: cidrForm }),
  except: list('except', text('except', { test: cidr, form: cidrForm })),
  cidrGroupRef: text('cidrGroupRef', { test: objectName }),
  cidrGroupSelector: labelSelector('cidrgroup'),
}, { oneOf: ['cidr', 'cidrGroupRef', 'cidrGroupSelector'] });

const entity = choice('an entity', ENTITIES, {
  'world-ipv4': 'write `world`, or the prefix 0.0.0.0/0 in a CIDR field',
  'world-ipv6': 'write `world`, or the prefix ::/0 in a CIDR field',
  localhost: 'did you mean `host`?',
  'kube-api-server': 'did you mean `kube-apiserver`?',
});

const group = object('a group', {
  aws: object('aws', {
    labels: map('labels', text('value')), securityGroupsIds: list('securityGroupsIds', text('id')),
    securityGroupsNames: list('securityGroupsNames', text('name')), region: text('region'),
  }),
});

const service = object('an item of toServices', {
  k8sService: object('k8sService', { serviceName: text('serviceName'), namespace: text('namespace') }),
  k8sServiceSelector: object('k8sServiceSelector', { selector, namespace: text('namespace') }, { required: ['selector'] }),
});

const peers = (prefix: 'from' | 'to'): Record<string, Shape> => ({
  [`${prefix}Endpoints`]: list(`${prefix}Endpoints`, selector),
  [`${prefix}CIDR`]: list(`${prefix}CIDR`, text('a CIDR', { test: cidr, form: cidrForm })),
  [`${prefix}CIDRSet`]: list(`${prefix}CIDRSet`, cidrSet),
  [`${prefix}Entities`]: list(`${prefix}Entities`, entity),
  [`${prefix}Groups`]: list(`${prefix}Groups`, group),
  [`${prefix}Nodes`]: list(`${prefix}Nodes`, labelSelector('node')),
  [`${prefix}Requires`]: list(`${prefix}Requires`, anything, { max: 0 }),
});

function entry(direction: 'ingress' | 'egress', allow: boolean): Shape {
  const [prefix, other] = direction === 'ingress' ? ['from', 'to'] as const : ['to', 'from'] as const;
  const fields: Record<string, Shape> = {
    ...peers(prefix),
    ...(direction === 'egress' ? { toServices: list('toServices', service) } : {}),
    ...(direction === 'egress' && allow ? { toFQDNs: list('toFQDNs', dnsSelector('an item of toFQDNs')) } : {}),
    toPorts: toPorts(allow), icmps,
    ...(allow ? { authentication: object('authentication', { mode: choice('mode', ['disabled', 'required', 'test-always-fail']) }, { required: ['mode'] }) } : {}),
  };
  const swapped = Object.fromEntries(['Endpoints', 'CIDR', 'CIDRSet', 'Entities', 'Groups', 'Nodes'].map((member) =>
    [other + member, `in ${direction} the field is \`${prefix}${member}\``]));
  const hints = {
    ...swapped, from: peerForm('from'), to: peerForm('to'), ports: toPortsForm, port: toPortsForm,
    podSelector: (value: unknown) => peerForm(prefix)({ podSelector: value }),
    namespaceSelector: `write ${prefix}Endpoints: [{matchLabels: {"k8s:io.kubernetes.pod.namespace": NAME}}]`,
    ipBlock: (value: unknown) => peerForm(prefix)({ ipBlock: value }),
    toFQDNs: 'names are for egress allow entries only',
  };
  return object(`an entry of ${direction}${allow ? '' : 'Deny'}`, fields, { hints });
}

const spec = object('spec', {
  endpointSelector: selector,
  nodeSelector: selector,
  ingress: list('ingress', entry('ingress', true)),
  ingressDeny: list('ingressDeny', entry('ingress', false)),
  egress: list('egress', entry('egress', true)),
  egressDeny: list('egressDeny', entry('egress', false)),
  enableDefaultDeny: object('enableDefaultDeny', { ingress: flag('ingress'), egress: flag('egress') }, { form: 'write {ingress: false, egress: false}' }),
  log: object('log', { value: text('value', { test: (value) => ([...value].length > 32 ? 'must have at most 32 characters' : printable(value)) }) }),
  labels: list('labels', object('a label', { key: text('key'), value: text('value'), source: text('source') }, { required: ['key'] })),
  description: text('description'),
}, {
  oneOf: ['endpointSelector', 'nodeSelector'],
  hints: {
    podSelector: 'did you mean `endpointSelector`? It has the same form',
    policyTypes: 'a direction is enforced when it has entries; enableDefaultDeny: {ingress: BOOL, egress: BOOL} says otherwise',
    fromEndpoints: 'it stands in an entry: ingress: [{fromEndpoints: [...]}]',
    toEndpoints: 'it stands in an entry: egress: [{toEndpoints: [...]}]',
    toPorts: 'it stands in an entry: ingress: [{toPorts: [...]}]',
  },
});

export const ciliumPolicy = object('the policy', {
  apiVersion: choice('apiVersion', ['cilium.io/v2']),
  kind: choice('kind', ['CiliumNetworkPolicy', 'CiliumClusterwideNetworkPolicy']),
  metadata,
  spec,
  specs: list('specs', spec),
  status: anything,
}, { required: ['apiVersion', 'kind'], hints: { rules: 'did you mean `spec` or `specs`?' } });
