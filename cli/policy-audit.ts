// policy audit-report: what audited policies would have done, had they been enforced.
import type { Command } from 'commander';
import { callAgent } from '../agent/api/client.ts';
import type { AuditReport } from '../agent/api/policy-audit.ts';
import { chosenInstance, listing, type Common } from './options.ts';
import { printObject, printable, tableText } from './print.ts';

const help = `
Example:
  ./weir policy audit-report
  ./weir policy audit-report shop/db -o json

A policy is audited by the annotation policy.weir.io/mode: audit, of its own or of its namespace. Its flows go on as if it were not
there; where it would have decided otherwise a flow is AUDITED (./weir observe --verdict AUDIT) and counted here: by connection, and by
packet where it is dropped now. Counts begin with the agent, and with each change of the policy's mode.`;

export function register(policy: Command): void {
  listing(policy.command('audit-report [name]').description('what audited policies would have allowed or denied, by peer')).addHelpText('after', help)
    .action(async (name: string | undefined, options: Common) => {
      const report = await callAgent<AuditReport>(chosenInstance(options), 'policy audit', name === undefined ? {} : { name });
      if (options.output === 'table') process.stdout.write(`${printable(told(report))}\n`);
      else printObject({ ...report }, options.output);
    });
}

const columns = ['policy', 'endpoint', 'direction', 'peer', 'port', 'is', 'wouldBe', 'count', 'firstSeen', 'lastSeen'];

function told({ policies, uncounted }: AuditReport): string {
  if (policies.length === 0) return 'no policy is audited';
  const rows = policies.flatMap(({ policy, rows: own }) => own.map((row) => ({ policy, ...row })));
  const quiet = policies.filter((one) => one.rows.length === 0)
    .map(({ policy, endpoints, since }) => `${policy}: audited on ${endpoints} ${endpoints === 1 ? 'endpoint' : 'endpoints'} since ${since}, nothing that was seen would change`);
  return [...(rows.length === 0 ? [] : [tableText(rows, columns)]), ...quiet, ...(uncounted === 0 ? [] : [`${uncounted} more had no room in this table`])].join('\n');
}
