// Services as manifests say them, for the verbs that judge offline: what toServices means, and who answers where a flow asks for a Service.
import { draftOf, sliceOf, type ServiceDraft } from '../service/draft.ts';
import { checkObject, SERVICE, SLICE } from '../service/reflector.ts';
import type { ServicePort, SliceRow } from '../service/tables.ts';
import type { Problem } from './check.ts';
import type { Manifest } from './manifests.ts';
import type { PolicyService } from './to-services.ts';
import type { Workload } from './workloads.ts';

export interface FileService extends PolicyService {
  /** Written in the manifest: the others are given out by an agent. */
  readonly clientAddresses: readonly string[];
  readonly ports: readonly ServicePort[];
  readonly slices: readonly SliceRow[];
}

/** One who answers for a Service, and the port that it is asked at: a number, or a name of its own. */
export interface FileBackend { readonly party: string | { readonly ip: string }; readonly port: string }

/** `report` hears why one is left out: an agent would refuse it too. */
export function readServices(manifests: readonly Manifest[], report: (manifest: Manifest, problems: readonly Problem[]) => void): FileService[] {
  const sound = manifests.filter((manifest) => {
    if (manifest.kind !== SERVICE && manifest.kind !== SLICE) return false;
    const problems = checkObject(manifest.kind, manifest.object);
    report(manifest, problems.map((one): Problem => ({ ...one, severity: 'warning', name: 'service-refused' })));
    return !problems.some(({ severity }) => severity === 'error');
  });
  const slices = sound.filter(({ kind }) => kind === SLICE).map((manifest) => sliceOf(rowOf(manifest)));
  return sound.filter(({ kind }) => kind === SERVICE).map((manifest) => serviceOf(draftOf(rowOf(manifest)), slices));
}

function rowOf({ kind, object, locate }: Manifest): Parameters<typeof draftOf>[0] {
  const metadata = object['metadata'] as { readonly name: string; readonly namespace?: string };
  const namespace = metadata.namespace ?? 'default';
  return { key: `${kind}/${namespace}/${metadata.name}`, apiVersion: String(object['apiVersion']), kind, namespace, name: metadata.name, object, source: locate([]), locate };
}

function serviceOf({ row, fixedIps, fixedPoolIp }: ServiceDraft, all: readonly SliceRow[]): FileService {
  const { namespace, name, labels, selector, ports, externalIps } = row;
  const slices = selector === undefined ? all.filter((slice) => slice.namespace === namespace && slice.service === name) : [];
  return {
    namespace, name, labels, ports, slices, ...(selector === undefined ? {} : { selector }),
    addresses: [...new Set(slices.flatMap(({ endpoints }) => endpoints.flatMap(({ addresses }) => addresses)))].sort(),
    clientAddresses: [...fixedIps, ...externalIps, ...(fixedPoolIp === undefined ? [] : [fixedPoolIp])],
  };
}

/** Who answers at this port. A pod without the port's name does not. */
export function backendsOf({ namespace, selector, slices }: FileService, { name, protocol, targetPort }: ServicePort, workloads: readonly Workload[]): FileBackend[] {
  if (selector === undefined) {
    return slices.flatMap(({ ports, endpoints }) => ports.filter((port) => port.name === name && port.protocol === protocol)
      .flatMap(({ port }) => endpoints.flatMap(({ addresses }) => addresses.map((ip): FileBackend => ({ party: { ip }, port: String(port) })))));
  }
  return workloads.filter((one) => one.namespace === namespace && Object.entries(selector).every(([key, value]) => one.labels[key] === value))
    .filter(({ namedPorts = [] }) => typeof targetPort === 'number' || namedPorts.some((port) => port.name === targetPort && port.protocol === protocol))
    .map((one): FileBackend => ({ party: `${one.namespace}/${one.name}`, port: String(targetPort) }));
}
