// Probes as they are run: from what a container of a manifest says, with the defaults of Kubernetes and ports by number.
import type { PodContainer } from './pods-container.ts';
import type { WrittenProbe } from './probe-shape.ts';

export type ProbeAction =
  | { readonly kind: 'exec'; readonly command: readonly string[] }
  | { readonly kind: 'tcp'; readonly port: number }
  | { readonly kind: 'http'; readonly port: number; readonly path: string; readonly tls: boolean; readonly headers: Readonly<Record<string, string>> };

export interface ProbeSpec {
  readonly action: ProbeAction;
  /** From the start of the container. */
  readonly initialDelayMs: number;
  readonly periodMs: number;
  readonly timeoutMs: number;
  readonly successThreshold: number;
  readonly failureThreshold: number;
  /** Of a container that it ends; the pod's unless it is given. */
  readonly graceMs?: number;
}

export type ProbeKind = 'startup' | 'liveness' | 'readiness';
export type Probes = Readonly<Partial<Record<ProbeKind, ProbeSpec>>>;

const defaults = { periodSeconds: 10, timeoutSeconds: 1, successThreshold: 1, failureThreshold: 3 } as const;

/** The last of two headers of one name counts. */
function actionOf({ exec, tcpSocket, httpGet }: WrittenProbe, container: PodContainer): ProbeAction {
  const numberOf = (port: number | string): number => (typeof port === 'number' ? port : container.ports!.find(({ name }) => name === port)!.containerPort);
  if (exec !== undefined && exec !== null) return { kind: 'exec', command: exec.command };
  if (tcpSocket !== undefined && tcpSocket !== null) return { kind: 'tcp', port: numberOf(tcpSocket.port) };
  const { port, path, scheme, httpHeaders } = httpGet!;
  return {
    kind: 'http', port: numberOf(port), path: (path ?? '/').replace(/^(?!\/)/, '/'), tls: scheme === 'HTTPS',
    headers: Object.fromEntries((httpHeaders ?? []).map(({ name, value }) => [name, value])),
  };
}

function specOf(written: WrittenProbe, container: PodContainer): ProbeSpec {
  const { initialDelaySeconds, periodSeconds, timeoutSeconds, successThreshold, failureThreshold, terminationGracePeriodSeconds: grace } = written;
  return {
    action: actionOf(written, container), initialDelayMs: (initialDelaySeconds ?? 0) * 1_000, periodMs: (periodSeconds ?? defaults.periodSeconds) * 1_000,
    timeoutMs: (timeoutSeconds ?? defaults.timeoutSeconds) * 1_000, successThreshold: successThreshold ?? defaults.successThreshold,
    failureThreshold: failureThreshold ?? defaults.failureThreshold, ...(typeof grace === 'number' ? { graceMs: grace * 1_000 } : {}),
  };
}

/** Undefined when nothing is probed. */
export function probesOf(container: PodContainer): Probes | undefined {
  const { startupProbe, livenessProbe, readinessProbe } = container;
  const probes = Object.fromEntries(Object.entries({ startup: startupProbe, liveness: livenessProbe, readiness: readinessProbe })
    .flatMap(([kind, written]) => (written === undefined || written === null ? [] : [[kind, specOf(written, container)]])));
  return Object.keys(probes).length === 0 ? undefined : probes;
}
