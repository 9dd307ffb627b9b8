// The tables of Services and their slices -> what policies may name of them.
import type { ServiceRow, SliceRow } from '../service/tables.ts';
import type { Table } from '../store/table.ts';
import type { PolicyService } from './to-services.ts';

export interface PolicyServices {
  readonly list: () => readonly PolicyService[];
  /** Changes of one turn of the event loop go together. */
  readonly subscribe: (listener: () => void) => () => void;
}

export const noServices: PolicyServices = { list: () => [], subscribe: () => () => {} };

export function policyServices(services: Table<ServiceRow>, slices: Table<SliceRow>): PolicyServices {
  const addressesOf = ({ key, selector }: ServiceRow): string[] => (selector === undefined
    ? [...new Set(slices.by('service', key).flatMap(({ endpoints }) => endpoints.flatMap(({ addresses }) => addresses)))].sort() : []);
  return {
    list: () => services.rows().map((row) => ({
      namespace: row.namespace, name: row.name, labels: row.labels, addresses: addressesOf(row), ...(row.selector === undefined ? {} : { selector: row.selector }),
    })).sort((a, b) => (`${a.namespace}/${a.name}` < `${b.namespace}/${b.name}` ? -1 : 1)),
    subscribe: (listener) => {
      let waiting: NodeJS.Immediate | undefined;
      const later = (): void => {
        waiting ??= setImmediate(() => {
          waiting = undefined;
          listener();
        });
      };
      const stops = [services.subscribe(later), slices.subscribe(later)];
      return () => {
        clearImmediate(waiting);
        for (const stop of stops) stop();
      };
    },
  };
}
