// Endpoints on disk: a file for each, so that the next agent knows which interface belongs to which run of a workload.
import { existsSync, mkdirSync, readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import type { Endpoint } from '../../bpf/types.gen.ts';
import type { Link } from '../kernel/link.ts';
import { readJson, writeJson } from '../store/file.ts';
import type { Table } from '../store/table.ts';
import type { EndpointRow } from './tables.ts';

const suffix = '.json';

export function readEndpoints(folder: string): EndpointRow[] {
  const files = existsSync(folder) ? readdirSync(folder).filter((name) => name.endsWith(suffix)) : [];
  return files.map((name) => readJson(join(folder, name)) as EndpointRow);
}

/** Follows the table; what stands there first is what remains of the files. */
export function saveEndpoints(endpoints: Table<EndpointRow>, folder: string): () => void {
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  const path = (row: EndpointRow): string => join(folder, `${row.id}${suffix}`);
  const kept = new Set(endpoints.rows().map(path));
  for (const name of readdirSync(folder)) if (!kept.has(join(folder, name))) rmSync(join(folder, name));
  return endpoints.subscribe((changes) => {
    for (const { old, row } of changes) {
      if (old !== undefined && old.id !== row?.id) rmSync(path(old), { force: true });
      if (row !== undefined) writeJson(path(row), row);
    }
  });
}

const macText = (bytes: Uint8Array): string => [...bytes].map((byte) => byte.toString(16).padStart(2, '0')).join(':');

/** Those that were ready and still are what their file says: interface, addresses' owner, MAC. Whose workload ended goes later. */
export function standing(rows: readonly EndpointRow[], links: readonly Link[], kernel: ReadonlyMap<number, Endpoint>): EndpointRow[] {
  const byIndex = new Map(links.map((link) => [link.index, link]));
  return rows.filter((row) => {
    const link = byIndex.get(row.ifindex);
    const inKernel = kernel.get(row.ifindex);
    return row.state === 'ready' && link?.name === row.interfaceName && link.up && macText(link.mac) === row.hostMac
      && inKernel?.id === row.id && macText(inKernel.mac) === row.mac;
  });
}
