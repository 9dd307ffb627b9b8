// Maps of another layout or size -> the numbers that services had there: rows of affinities, which are copied, name them.
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import type { Frontend, FrontendKey } from '../../bpf/types.gen.ts';
import { oldRows } from '../datapath/migration.ts';
import { keyOfFrontend } from './maps.ts';

const map = 'frontends';

/** By frontend. A version without Services has none. */
export function numbersIn(folder: string): Map<string, number> {
  if (!existsSync(join(folder, map))) return new Map();
  return new Map(oldRows<FrontendKey, Frontend>(folder, map, 'frontend_key', 'frontend').flatMap(([row, { service }]) => {
    const key = keyOfFrontend(row);
    return key === undefined ? [] : [[key, service] as const];
  }));
}
