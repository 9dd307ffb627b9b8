// The shapes of Service (v1) and EndpointSlice (discovery.k8s.io/v1): fields, types, choices, limits. What holds between fields is in semantics.ts.
import ipaddr from 'ipaddr.js';
import { isDnsLabel, isDnsName } from '../directory/kinds.ts';
import { labelProblem } from '../directory/labels.ts';
import { anything, choice, fail, flag, found, integer, isObject, list, map, object, text, type Shape } from '../policy/check.ts';
import { cidr, cidrForm } from '../policy/formats.ts';
import { metadata } from '../policy/metadata.ts';

const maxPort = 65_535;
/** Of clientIP.timeoutSeconds, as the Kubernetes API has it. */
const maxAffinitySeconds = 86_400;

export const addressText = (value: string): string | undefined => (ipaddr.isValid(value) && (value.includes(':') || value.split('.').length === 4) && !value.includes('%')
  ? undefined : 'must be an address such as 10.218.0.10 or fd77::10');

const address = (name: string): Shape => text(name, { test: addressText });
const protocol = choice('protocol', ['TCP', 'UDP', 'SCTP']);
const portName = text('name', { test: (name) => (isDnsLabel(name) ? undefined : 'must be a DNS label: a-z, 0-9 and `-`, at most 63') });

/** IANA service name. */
export const isPortName = (name: string): boolean => name.length <= 15 && /^[a-z0-9]+(-[a-z0-9]+)*$/.test(name) && /[a-z]/.test(name);

const targetPort: Shape = (value, path, report) => {
  if (typeof value === 'number') integer('targetPort', 1, maxPort)(value, path, report);
  else text('targetPort', { test: (name) => (/^\d+$/.test(name) ? 'must be a number without quotes, or the name of a container port'
    : isPortName(name) ? undefined : 'must be a number from 1 to 65535 or the name of a container port (a-z, 0-9 and single `-`, at most 15)') })(value, path, report);
};

const selector: Shape = (value, path, report) => {
  if (!isObject(value)) {
    fail(report, path, `selector must be a map of text to text; found ${found(value)}`, 'for example {app: web}');
    return;
  }
  if (isObject(value['matchLabels'])) {
    fail(report, [...path, 'matchLabels'], 'the selector of a Service has plain labels', 'write them straight under selector: {app: web}');
    return;
  }
  for (const [key, one] of Object.entries(value)) {
    const wrong = labelProblem(key, one);
    if (wrong !== undefined) fail(report, [...path, key], wrong.message, wrong.mend);
  }
};

const port = object('a port', {
  name: portName, protocol, appProtocol: text('appProtocol'), port: integer('port', 1, maxPort), targetPort, nodePort: integer('nodePort', 1, maxPort),
}, { required: ['port'], hints: { containerPort: 'did you mean `targetPort`?' }, form: (value) => (typeof value === 'number' ? `write {port: ${value}}` : undefined) });

const families = list('ipFamilies', choice('an IP family', ['IPv4', 'IPv6']), { max: 2 });
const traffic = (name: string): Shape => choice(name, ['Cluster', 'Local']);

const clusterIp: Shape = (value, path, report) => { if (value !== 'None' && value !== '') address('clusterIP')(value, path, report); };

const spec = object('spec', {
  type: choice('type', ['ClusterIP', 'NodePort', 'LoadBalancer', 'ExternalName'], { Headless: 'write clusterIP: None' }),
  selector, ports: list('ports', port), clusterIP: clusterIp, clusterIPs: list('clusterIPs', clusterIp, { max: 2 }),
  ipFamilies: families, ipFamilyPolicy: choice('ipFamilyPolicy', ['SingleStack', 'PreferDualStack', 'RequireDualStack']),
  externalIPs: list('externalIPs', address('an external IP')),
  externalName: text('externalName', { test: (name) => (isDnsName(name.replace(/\.$/, '')) ? undefined : 'must be a DNS name') }),
  loadBalancerIP: address('loadBalancerIP'), loadBalancerSourceRanges: list('loadBalancerSourceRanges', text('a source range', { test: cidr, form: cidrForm })),
  loadBalancerClass: text('loadBalancerClass'), allocateLoadBalancerNodePorts: flag('allocateLoadBalancerNodePorts'),
  sessionAffinity: choice('sessionAffinity', ['None', 'ClientIP']),
  sessionAffinityConfig: object('sessionAffinityConfig', { clientIP: object('clientIP', { timeoutSeconds: integer('timeoutSeconds', 1, maxAffinitySeconds) }) }),
  internalTrafficPolicy: traffic('internalTrafficPolicy'), externalTrafficPolicy: traffic('externalTrafficPolicy'),
  healthCheckNodePort: integer('healthCheckNodePort', 1, maxPort), publishNotReadyAddresses: flag('publishNotReadyAddresses'),
  trafficDistribution: text('trafficDistribution'),
}, { hints: { matchLabels: 'write the labels straight under selector', port: 'it stands in a list: ports: [{port: 80}]', targetPort: 'it stands in an item of ports' } });

export const service = object('the Service', {
  apiVersion: choice('apiVersion', ['v1']), kind: choice('kind', ['Service']), metadata, spec, status: anything,
}, { required: ['spec'], hints: { selector: 'it stands under spec', ports: 'it stands under spec' } });

const endpoint = object('an endpoint', {
  addresses: list('addresses', text('an address'), { min: 1, max: 100 }),
  conditions: object('conditions', { ready: flag('ready'), serving: flag('serving'), terminating: flag('terminating') }),
  hostname: text('hostname', { test: (name) => (isDnsLabel(name) ? undefined : 'must be a DNS label') }), nodeName: text('nodeName'), zone: text('zone'),
  targetRef: map('targetRef', anything), hints: anything, deprecatedTopology: map('deprecatedTopology', text('a value')),
}, { required: ['addresses'] });

const slicePort = object('a port', { name: text('name'), protocol, port: integer('port', 1, maxPort), appProtocol: text('appProtocol') });

export const endpointSlice = object('the EndpointSlice', {
  apiVersion: choice('apiVersion', ['discovery.k8s.io/v1']), kind: choice('kind', ['EndpointSlice']), metadata,
  addressType: choice('addressType', ['IPv4', 'IPv6', 'FQDN']), endpoints: list('endpoints', endpoint, { max: 1_000 }), ports: list('ports', slicePort, { max: 100 }),
}, { required: ['addressType', 'endpoints'], hints: { spec: 'an EndpointSlice has no spec: addressType, endpoints and ports stand at its top' } });
