// policy list and get: what became of each policy, and how often each of its rules decided.
import type { Command } from 'commander';
import { callAgent } from '../agent/api/client.ts';
import type { ListedPolicy, PolicyDetails, RuleRow } from '../agent/api/policy-rules.ts';
import { chosenInstance, listing, type Common } from './options.ts';
import { printObject, printRows, printable, tableText, type Row } from './print.ts';

const getHelp = `
Example:
  ./weir policy get shop/db
  ./weir policy get CiliumNetworkPolicy/shop/db -o json

Packets and bytes are those of connections that the rule let through, both ways, and of packets that it denied; a rule that another one
of its kind joined in counts as well. They are counted when flows are recorded: at once for the first packet and every denied one, within
5 s for those that follow. Counts begin with the agent, and with each change of the policy.`;

export function register(policy: Command): void {
  policy.addHelpText('after', '\nExample:\n  ./weir policy list');
  listing(policy.command('list').description('the policies, what became of each, and how much they decided')).addHelpText('after', '\nExample:\n  ./weir policy list\n  ./weir policy list -o json')
    .action(async (options: Common) => {
      const rows = await callAgent<ListedPolicy[]>(chosenInstance(options), 'policy list');
      printRows(rows.map((row): Row => ({ ...row })), ['kind', 'namespace', 'name', 'state', 'endpoints', 'since', 'rules', 'packets', 'bytes', 'message'], options.output);
    });
  listing(policy.command('get <name>').description('one of them, with each of its rules: where it stands, and how often it decided')).addHelpText('after', getHelp)
    .action(async (name: string, options: Common) => {
      const { ruleCounts, ...row } = await callAgent<PolicyDetails>(chosenInstance(options), 'policy get', { name });
      if (options.output !== 'table') printObject({ ...row, ruleCounts }, options.output);
      else process.stdout.write(`${printable(told(row, ruleCounts))}\n`);
    });
}

function told({ kind, namespace, name, state, endpoints, since, message, source }: Omit<PolicyDetails, 'ruleCounts'>, rules: readonly RuleRow[]): string {
  const head = tableText([
    ['policy', `${kind} ${namespace === '' ? name : `${namespace}/${name}`}`], ['state', `${state}${state === 'refused' ? '' : `, selects ${endpoints} ${endpoints === 1 ? 'endpoint' : 'endpoints'}`}, since ${since}`],
    ...(message === undefined ? [] : [['because', message]]), ['file', `${source.file}:${source.line}`],
  ].map(([field, value]) => ({ field, value })), ['field', 'value']);
  if (rules.length === 0) return head;
  return `${head}\n\n${tableText(rules.map((rule) => ({ ...rule, lastHit: rule.lastHit ?? 'never' })), ['rule', 'action', 'packets', 'bytes', 'lastHit', 'at'])}`;
}
