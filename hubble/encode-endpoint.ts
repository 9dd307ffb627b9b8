// One end of a flow as bytes: for traffic between so many ends that parts.ts remembers too few of them.
import { flowMessage } from './proto.ts';
import type { Endpoint } from './types.ts';
import { messageOf, oneByteTag, putVarint, varintBytes } from './wire.ts';

const [endpoint, workload] = [messageOf('flow.Endpoint'), messageOf('flow.Workload')];
const tags = {
  source: oneByteTag(flowMessage, 'source'), destination: oneByteTag(flowMessage, 'destination'),
  ID: oneByteTag(endpoint, 'ID'), identity: oneByteTag(endpoint, 'identity'), namespace: oneByteTag(endpoint, 'namespace'), labels: oneByteTag(endpoint, 'labels'),
  podName: oneByteTag(endpoint, 'pod_name'), workloads: oneByteTag(endpoint, 'workloads'), clusterName: oneByteTag(endpoint, 'cluster_name'),
  workloadName: oneByteTag(workload, 'name'), workloadKind: oneByteTag(workload, 'kind'),
};

/** What numbers, tags and lengths take at most; strings take three bytes for each of their units. */
const numbersBytes = 64;
const fieldBytes = 12;
let scratch = Buffer.allocUnsafeSlow(4_096);

function reserve({ namespace = '', pod_name: podName = '', cluster_name: clusterName = '', labels = [], workloads = [] }: Endpoint): void {
  let units = namespace.length + podName.length + clusterName.length;
  for (const label of labels) units += label.length;
  for (const { name = '', kind = '' } of workloads) units += name.length + kind.length;
  const most = numbersBytes + 3 * units + fieldBytes * (3 + labels.length + 3 * workloads.length);
  if (most > scratch.length) scratch = Buffer.allocUnsafeSlow(2 * most);
}

/** The length comes before what it measures: one byte is left for it, and more made where one is not enough. */
function close(from: number, end: number): number {
  const length = end - from - 1;
  const more = varintBytes(length) - 1;
  if (more > 0) scratch.copyWithin(from + 1 + more, from + 1, end);
  putVarint(scratch, from, length);
  return end + more;
}

/** Names are ASCII and short: a call into the runtime costs more than they do. */
function putUtf8(at: number, text: string): number {
  for (let index = 0; index < text.length; index += 1) {
    const unit = text.charCodeAt(index);
    if (unit > 0x7f) return at + scratch.write(text, at);
    scratch[at + index] = unit;
  }
  return at + text.length;
}

/** Also when it is empty: an item of a list. */
function putString(at: number, tag: number, text: string): number {
  scratch[at] = tag;
  return close(at + 1, putUtf8(at + 2, text));
}

const putText = (at: number, tag: number, text = ''): number => (text === '' ? at : putString(at, tag, text));

function putNumber(at: number, tag: number, value: number | undefined): number {
  if (!value) return at;
  scratch[at] = tag;
  return putVarint(scratch, at + 1, value);
}

/** As the field `side` of a flow. */
export function encodeEndpoint(side: 'source' | 'destination', end: Endpoint): Uint8Array {
  reserve(end);
  scratch[0] = tags[side];
  let at = putNumber(2, tags.ID, end.ID);
  at = putNumber(at, tags.identity, end.identity);
  at = putText(at, tags.namespace, end.namespace);
  for (const label of end.labels ?? []) at = putString(at, tags.labels, label);
  at = putText(at, tags.podName, end.pod_name);
  for (const { name, kind } of end.workloads ?? []) {
    scratch[at] = tags.workloads;
    at = close(at + 1, putText(putText(at + 2, tags.workloadName, name), tags.workloadKind, kind));
  }
  at = close(1, putText(at, tags.clusterName, end.cluster_name));
  const bytes = Buffer.allocUnsafe(at);
  scratch.copy(bytes, 0, 0, at);
  return bytes;
}
