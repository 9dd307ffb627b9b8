// Entities: names for identities that have no labels of their own in manifests. Each is a set of label selectors.
import { CLUSTER, DEFAULT_CLUSTER } from '../identity/labels.ts';
import { makeSelector, requirement, type Selector } from './selector.ts';

const reserved = (name: string): Selector => makeSelector([requirement(`reserved:${name}`, 'In', [''])]);

const IN_CLUSTER = ['host', 'remote-node', 'init', 'ingress', 'health', 'unmanaged', 'kube-apiserver'];

const MEMBERS: Readonly<Record<string, () => Selector[]>> = {
  all: () => [makeSelector([])],
  world: () => ['world', 'world-ipv4', 'world-ipv6'].map(reserved),
  'world-ipv4': () => [reserved('world-ipv4')],
  'world-ipv6': () => [reserved('world-ipv6')],
  cluster: () => [...IN_CLUSTER.map(reserved), makeSelector([requirement(`k8s:${CLUSTER}`, 'In', [DEFAULT_CLUSTER])])],
  host: () => [reserved('host')],
  init: () => [reserved('init')],
  ingress: () => [reserved('ingress')],
  unmanaged: () => [reserved('unmanaged')],
  'remote-node': () => [reserved('remote-node')],
  health: () => [reserved('health')],
  none: () => [],
  'kube-apiserver': () => [reserved('kube-apiserver')],
};

/** What manifests may write; the two world families are for addresses, which CIDRs name better. */
export const ENTITIES = Object.keys(MEMBERS).filter((name) => !name.startsWith('world-'));

/** The selectors of an entity; an unknown name selects nobody. */
export const entitySelectors = (name: string): Selector[] => MEMBERS[name]?.() ?? [];
