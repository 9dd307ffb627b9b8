// weir dns: what was learned from answers, what was refused, and what rules say of a name.
import type { Command } from 'commander';
import { callAgent } from '../agent/api/client.ts';
import type { CacheRow, DnsStatus, NameReason } from '../agent/dns/listing.ts';
import { chosenInstance, listing, type Common } from './options.ts';
import { printObject, printRows, printable, tableText } from './print.ts';

const rule = ({ policy, path }: NameReason['mayAsk'][number]): string => `${policy.kind} ${policy.namespace === '' ? '' : `${policy.namespace}/`}${policy.name} ${path}`;

export function register(program: Command): void {
  const dns = program.command('dns').description('names that policies speak of').addHelpText('after', '\nExample:\n  ./weir dns cache list\n  ./weir dns explain www.example.com --from shop/web');
  const cache = dns.command('cache').description('addresses that answers gave').addHelpText('after', '\nExample:\n  ./weir dns cache list');
  listing(cache.command('list').description('which workload may take which address for which name, and for how long')).addHelpText('after', '\nExample:\n  ./weir dns cache list -o json')
    .action(async (options: Common) => {
      const rows = await callAgent<CacheRow[]>(chosenInstance(options), 'dns cache');
      printRows(rows.map((row) => ({ ...row })), ['endpoint', 'address', 'names', 'selectors', 'seconds'], options.output);
    });
  listing(dns.command('status').description('what was refused, unread or not learned')).addHelpText('after', '\nExample:\n  ./weir dns status')
    .action(async (options: Common) => {
      const status = await callAgent<DnsStatus>(chosenInstance(options), 'dns status');
      if (options.output !== 'table') printObject({ ...status }, options.output);
      else {
        process.stdout.write(`${tableText([status.counters], Object.keys(status.counters))}\n\n`);
        if (status.proxy !== null) process.stdout.write(`by TCP\n${tableText([{ ...status.proxy }], Object.keys(status.proxy))}\n\n`);
        printRows(status.endpoints.map((row) => ({ ...row })), ['endpoint', 'addresses', 'quota', 'refused'], 'table');
      }
    });
  listing(dns.command('explain <name>').description('which rules let a workload ask for a name, and reach it').requiredOption('--from <workload>', 'NAMESPACE/NAME or NAME'))
    .addHelpText('after', '\nExample:\n  ./weir dns explain www.example.com --from shop/web')
    .action(async (name: string, options: Common & { from: string }) => {
      const reason = await callAgent<NameReason>(chosenInstance(options), 'dns explain', { name, from: options.from });
      if (options.output !== 'table') printObject({ ...reason }, options.output);
      else process.stdout.write(`${printable(told(reason))}\n`);
    });
}

function told({ name, from, enforced, mayAsk, mayReach, addresses }: NameReason): string {
  if (!enforced) return `egress of ${from} is not enforced: it may ask for ${name} and reach it`;
  const list = (what: string, rules: NameReason['mayAsk']): string[] => (rules.length === 0 ? [`${from} may not ${what} ${name} by a rule of names`] : [`${from} may ${what} ${name}:`, ...rules.map((one) => `  ${rule(one)}`)]);
  return [...list('ask for', mayAsk), ...list('reach', mayReach), ...(addresses.length === 0 ? ['no address is known for it'] : [`known addresses: ${addresses.join(', ')}`])].join('\n');
}
