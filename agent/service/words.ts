// Names that Services are written with: the label of slices, the annotations that choose how connections are spread and answered.

export const serviceLabel = 'kubernetes.io/service-name';

/** How a frontend that is reached from outside chooses a backend, and who answers. Absent: as the node does by default. */
export interface Forwarding { readonly algorithm?: 'random' | 'maglev'; readonly mode?: 'snat' | 'dsr' }

const algorithmKey = 'service.cilium.io/lb-algorithm';
const modeKey = 'service.cilium.io/forwarding-mode';

/** Of a pod, or of all endpoints of an EndpointSlice: its share of new connections against the others'. Kubernetes has no such field. */
const weightKey = 'service.weir.io/weight';
export const defaultWeight = 100;
const mostWeight = 1_000;

interface Reading extends Forwarding { readonly problem?: { readonly key: string; readonly message: string } }

export function forwardingOf(annotations: Readonly<Record<string, string>>): Reading {
  const [algorithm, mode] = [annotations[algorithmKey], annotations[modeKey]];
  if (algorithm !== undefined && algorithm !== 'random' && algorithm !== 'maglev') return { problem: { key: algorithmKey, message: `${algorithmKey} must be random or maglev; found ${JSON.stringify(algorithm)}` } };
  if (mode !== undefined && mode !== 'snat' && mode !== 'dsr') return { problem: { key: modeKey, message: `${modeKey} must be snat or dsr; found ${JSON.stringify(mode)}` } };
  return { ...(algorithm === undefined ? {} : { algorithm }), ...(mode === undefined ? {} : { mode }) };
}

interface WeightReading { readonly weight?: number; readonly problem?: { readonly key: string; readonly message: string } }

/** Absent: the default. */
export function weightOf(annotations: Readonly<Record<string, string>>): WeightReading {
  const text = annotations[weightKey];
  if (text === undefined) return {};
  const weight = Number(text);
  if (!/^\d{1,4}$/.test(text) || weight < 1 || weight > mostWeight) {
    return { problem: { key: weightKey, message: `${weightKey} must be a whole number from 1 to ${mostWeight}, ${defaultWeight} being usual; found ${JSON.stringify(text)}` } };
  }
  return { weight };
}
