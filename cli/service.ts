// service: where services are reached and who answers; Maglev tables of cases.
import { Option, type Command } from 'commander';
import { callAgent } from '../agent/api/client.ts';
import type { ExplainedAddress, ListedService, ServiceDetails } from '../agent/api/services.ts';
import { chosenInstance, instanceOption, listing, type Common } from './options.ts';
import { printObject, printRows, printable, tableText, type Row } from './print.ts';
import { registerMaglev } from './service-maglev.ts';

const columns = ['namespace', 'name', 'type', 'clusterIps', 'externalIps', 'ports', 'backends', 'state', 'connections'];
type ListOptions = Omit<Common, 'output'> & { readonly output: Common['output'] | 'wide' };

export function register(program: Command): void {
  const service = program.command('service').description('Services: where they are reached, and who answers').addHelpText('after', '\nExample:\n  ./weir service list');
  service.command('list').description('the Services, with their addresses and backends').addOption(instanceOption())
    .addOption(new Option('-o, --output <form>', 'how to print').choices(['table', 'wide', 'json', 'yaml']).default('table')).addHelpText('after', '\nExample:\n  ./weir service list -o wide')
    .action(async (options: ListOptions) => {
      const rows = (await callAgent<ListedService[]>(chosenInstance(options), 'service list')).map((row): Row => ({ ...row }));
      printRows(rows, options.output === 'wide' ? [...columns, 'selector'] : columns, options.output === 'wide' ? 'table' : options.output);
    });
  listing(service.command('get <name>').description('one of them, with its frontends and backends')).addHelpText('after', '\nExample:\n  ./weir service get shop/web')
    .action(async (name: string, options: Common) => {
      const details = await callAgent<ServiceDetails>(chosenInstance(options), 'service get', { name });
      if (options.output !== 'table') printObject({ ...details }, options.output);
      else process.stdout.write(`${printable(told(details))}\n`);
    });
  listing(service.command('explain <address>').description('what becomes of a connection to an address and port')).addHelpText('after', '\nExample:\n  ./weir service explain 10.218.0.10:80\n  ./weir service explain [fd77:e2:d9::10]:53/UDP')
    .action(async (address: string, options: Common) => {
      const explained = await callAgent<ExplainedAddress>(chosenInstance(options), 'service explain', { address });
      if (options.output !== 'table') printObject({ ...explained }, options.output);
      else process.stdout.write(`${printable(explained.lines.join('\n'))}\n`);
    });
  registerMaglev(service);
}

function told({ service, state, frontends, backends }: ServiceDetails): string {
  const head = tableText([
    ['service', service.key], ['type', service.type], ['state', state], ...(service.selector === undefined ? [] : [['selector', Object.entries(service.selector).map(([key, value]) => `${key}=${value}`).join(', ')]]),
    ...(service.healthCheckNodePort === undefined ? [] : [['health check', `port ${service.healthCheckNodePort} of the node`]]),
    ...(service.source === undefined ? [] : [['file', `${service.source.file}:${service.source.line}`]]),
  ].map(([field, value]) => ({ field, value })), ['field', 'value']);
  const parts = [head];
  if (frontends.length > 0) parts.push(tableText(frontends.map((row): Row => ({ ...row })), ['frontend', 'kind', 'scope', 'port', 'backends', 'how']));
  if (backends.length > 0) parts.push(tableText(backends.map((row): Row => ({ ...row })), ['backend', 'pod', 'node', 'state', 'connections']));
  return parts.join('\n\n');
}
