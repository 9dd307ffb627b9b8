// A question about a flow, answered from manifests: both ends judged in words, by the compiler's own rules and identities.
import { ConfigError } from '../errors.ts';
import type { ClusterFiles } from './cluster-files.ts';
import { explain, type Explanation } from './explain.ts';
import { formatFinding } from './manifests.ts';
import { endpointOf, makeWorld, partyOf, type CaseParty, type World } from './offline.ts';
import { pickWorkload, readPartyText, readService, type Question } from './question.ts';
import { backendsOf, type FileBackend } from './service-files.ts';
import type { Workload } from './workloads.ts';

const SIDES = ['egress', 'ingress'] as const;

/** Throws ConfigError when a policy has an error: what would be in force is not known then. */
export function worldOfFiles(files: ClusterFiles): World {
  const errors = files.findings.filter(({ severity }) => severity === 'error');
  if (errors.length > 0) {
    const more = errors.length > 3 ? `\nand ${errors.length - 3} more` : '';
    throw new ConfigError(`${errors.slice(0, 3).map(formatFinding).join('\n')}${more}`, 'see ./weir policy validate, and mend them first');
  }
  return makeWorld(files.cluster);
}

/** What the agent would refuse, and so is not in force in the answer either. */
export const notEnforced = ({ findings }: ClusterFiles): readonly string[] => findings.filter(({ name }) => name === 'not-enforced').map(formatFinding);

/** `service`: in words, where the flow asks for a Service; then it is judged at each of its backends. */
export interface FilesAnswer { readonly sides: readonly Explanation[]; readonly service?: string }

/** One explanation for each end that is a workload. */
export function askFiles(files: ClusterFiles, question: Question): FilesAnswer {
  const world = worldOfFiles(files);
  const from = readParty(question.from, files.workloads);
  const asked = askedService(files, question);
  const sides = (asked?.backends ?? [{ party: readParty(question.to, files.workloads), port: question.port }])
    .flatMap(({ party, port }) => sidesOf(files, world, from, party, { protocol: question.protocol, ...(port === undefined ? {} : { port }), ...(question.request === undefined ? {} : { request: question.request }) }));
  if (sides.length === 0) throw new ConfigError('neither end is a workload, so no policy is asked', 'name a workload: --to NAMESPACE/NAME');
  return { sides, ...(asked === undefined ? {} : { service: asked.text }) };
}

function sidesOf(files: ClusterFiles, world: World, from: CaseParty, to: CaseParty, question: Pick<Question, 'port' | 'protocol' | 'request'>): Explanation[] {
  const { protocol, port } = readService(question, endpointOf(world, to));
  const sides = SIDES.filter((direction) => endpointOf(world, direction === 'egress' ? from : to) !== undefined);
  return sides.map((direction) => explain({
    direction, from: partyOf(world, from), to: partyOf(world, to), protocol, port,
    rules: world.rules, identities: world.identities, endpoints: world.endpoints,
    endpoint: endpointOf(world, direction === 'ingress' ? to : from), ipv6: world.ipv6,
    locate: (ref) => files.locate(ref), ...(question.request === undefined ? {} : { request: question.request }),
  }));
}

/** As workloads ask for it: `web.shop.svc`, whatever stands behind that. */
const serviceName = /^([^.]+)\.([^.]+)\.svc(\..*)?$/;

/** Undefined: the flow asks for no Service. */
function askedService({ services, workloads }: ClusterFiles, { to, port, protocol }: Question): { readonly backends: readonly FileBackend[]; readonly text: string } | undefined {
  const [, name, namespace] = serviceName.exec(to) ?? [];
  const service = services.find((one) => (name === undefined ? one.clientAddresses.includes(to) : one.name === name && one.namespace === namespace));
  if (service === undefined) {
    if (name === undefined) return undefined;
    throw new ConfigError(`no Service ${namespace}/${name} in these manifests`, services.length === 0 ? 'give the files of the Services too' : `there are: ${services.slice(0, 10).map((one) => `${one.namespace}/${one.name}`).join(', ')}`);
  }
  const key = `${service.namespace}/${service.name}`;
  const found = service.ports.find((one) => one.protocol === protocol.toUpperCase() && (String(one.port) === port || (one.name !== '' && one.name === port)));
  if (found === undefined) throw new ConfigError(`Service ${key} has no port ${port ?? ''}/${protocol.toUpperCase()}`, `it has ${service.ports.map((one) => `${one.port}/${one.protocol}`).join(', ') || 'none'}`);
  const backends = backendsOf(service, found, workloads);
  if (backends.length === 0) throw new ConfigError(`nobody in these manifests is behind Service ${key}`, 'give the files of its workloads or EndpointSlices too');
  return { backends, text: `Service ${key}, port ${found.port}/${found.protocol}` };
}

function readParty(text: string, workloads: readonly Workload[]): CaseParty {
  const party = readPartyText(text);
  if (party.kind === 'entity') return { entity: party.name };
  if (party.kind === 'address') {
    const own = workloads.find(({ ip }) => ip === party.text);
    return own === undefined ? { ip: party.text } : `${own.namespace}/${own.name}`;
  }
  const replica = workloads.find((one) => isReplica(party.name, one) && (party.namespace ?? one.namespace) === one.namespace);
  const exact = workloads.some(({ name, namespace }) => name === party.name && namespace === (party.namespace ?? namespace));
  if (replica !== undefined && !exact) return `${replica.namespace}/${replica.name}`;
  return pickWorkload(party, workloads.map(({ namespace, name }) => `${namespace}/${name}`), 'in these manifests');
}

/** `web-6d4cf56db6-abcde` and `web-vchvt-1` of Deployment web, `db-0` of StatefulSet db. */
const isReplica = (name: string, { kind, name: owner }: Workload): boolean => kind !== 'Pod' && name.startsWith(`${owner}-`)
  && /^(\d+|[a-z0-9]{5}|[a-z0-9]{5,10}-([a-z0-9]{5}|\d+))$/.test(name.slice(owner.length + 1));
