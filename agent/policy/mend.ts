// What the user probably meant: near names, and the right form of the mistakes that people copy from each other.

/** Edits between two names; letter case and `-` or `_` do not count. */
function distance(a: string, b: string): number {
  const [from, to] = [a, b].map((text) => text.toLowerCase().replace(/[-_]/g, '')) as [string, string];
  let row = Array.from({ length: to.length + 1 }, (_, index) => index);
  for (let i = 1; i <= from.length; i += 1) {
    const next = [i];
    for (let j = 1; j <= to.length; j += 1) {
      next.push(Math.min(row[j]! + 1, next[j - 1]! + 1, row[j - 1]! + (from[i - 1] === to[j - 1] ? 0 : 1)));
    }
    row = next;
  }
  return row[to.length]!;
}

/** The allowed name that `name` is a slip of, if there is one. */
export function nearest(name: string, allowed: readonly string[]): string | undefined {
  if (name.length > 64) return undefined;
  const limit = name.length <= 4 ? 1 : 2;
  let best: string | undefined;
  let least = limit + 1;
  for (const candidate of allowed) {
    const edits = distance(name, candidate);
    if (edits < least) [best, least] = [candidate, edits];
  }
  return best;
}

/** YAML in one line, as one would type it. */
export function flowText(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(flowText).join(', ')}]`;
  if (typeof value === 'object' && value !== null) {
    return `{${Object.entries(value).map(([key, item]) => `${/^[\w./-]+$/.test(key) ? key : JSON.stringify(key)}: ${flowText(item)}`).join(', ')}}`;
  }
  if (typeof value !== 'string') return String(value);
  return /^[A-Za-z/_][\w./-]*$/.test(value) && !/^(true|false|yes|no|on|off|null)$/i.test(value) ? value : JSON.stringify(value);
}

const record = (value: unknown): Record<string, unknown> => (typeof value === 'object' && value !== null ? value as Record<string, unknown> : {});

/** A port as it has to stand in `ports`, from whatever was written. */
export function portForm(value: unknown): string {
  const from = typeof value === 'object' && value !== null && !Array.isArray(value) ? record(value) : { port: value };
  const port: Record<string, unknown> = { port: String(from['port'] ?? '8080'), protocol: String(from['protocol'] ?? 'TCP') };
  if (typeof from['endPort'] === 'number') port['endPort'] = from['endPort'];
  return flowText(port);
}

const portList = (value: unknown): string => {
  const ports = Array.isArray(value) ? value : [value];
  return `[${ports.flatMap((one) => (Array.isArray(record(one)['ports']) ? record(one)['ports'] as unknown[] : [one])).map(portForm).join(', ')}]`;
};

export const toPortsForm = (value: unknown): string => `write toPorts: [{ports: ${portList(record(value)['ports'] ?? value)}}]`;

/** `namespaceSelector` and `podSelector` are of the other kind of policy. */
export function peerForm(field: string): (value: unknown) => string {
  return (value) => {
    const items = (Array.isArray(value) ? value : [value]).map(record);
    const block = items.map((item) => record(item['ipBlock'])['cidr']).find((cidr) => typeof cidr === 'string');
    if (block !== undefined) return `write ${field}CIDR: [${flowText(block)}]`;
    const pods = items.map((item) => item['podSelector']).filter((one) => one !== undefined).map((one) => record(one));
    return `write ${field}Endpoints: ${flowText(pods.length > 0 ? pods : [{ matchLabels: { app: 'NAME' } }])}`;
  };
}

/** Labels written straight into a selector. */
export const selectorForm = (value: unknown): string => `write {matchLabels: ${flowText(value)}}`;
