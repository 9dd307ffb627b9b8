// endpoint, identity, ipcache, node, db, bpf: what an agent holds, row by row.
import type { Command } from 'commander';
import { callAgent } from '../agent/api/client.ts';
import { ConfigError } from '../agent/errors.ts';
import { chosenInstance, listing, type Common } from './options.ts';
import { brief, printObject, printRows, type Row } from './print.ts';

interface Noun { readonly name: string; readonly table: string; readonly columns: readonly string[]; readonly keys: readonly string[]; readonly summary: string; readonly shape?: (row: Row) => Row }

const labelsOf = (row: Row): string[] => (row['labels'] as string[] | undefined ?? []).filter((label) => !/io\.cilium\.k8s\.(policy\.cluster|namespace\.labels)/.test(label));

const nouns: readonly Noun[] = [
  { name: 'endpoint', table: 'endpoints', keys: ['key', 'id', 'ipv4', 'ipv6', 'interfaceName'], columns: ['id', 'key', 'identity', 'ipv4', 'ipv6', 'interfaceName', 'state'], summary: 'the attachments of workloads' },
  { name: 'identity', table: 'identities', keys: ['id'], columns: ['id', 'kind', 'labels'], summary: 'numbers of label sets', shape: (row) => ({ ...row, labels: labelsOf(row) }) },
  { name: 'ipcache', table: 'ipcache', keys: ['prefix'], columns: ['prefix', 'identity', 'origin', 'host', 'node'], summary: 'which identity is behind which address' },
  { name: 'node', table: 'nodes', keys: ['name', 'ipv4', 'ipv6'], columns: ['name', 'health', 'ipv4', 'ipv6', 'ranges', 'tunnel', 'endpoints'], summary: 'the nodes of the cluster, and how they are reached',
    shape: (row) => ({ ...row, ranges: Object.values(row['ranges'] as object) }) },
];

export function register(program: Command): void {
  for (const noun of nouns) registerNoun(program, noun);
  const db = program.command('db').description('the tables that everything is derived from');
  db.addHelpText('after', '\nExample:\n  ./weir db list\n  ./weir db show policies -o yaml');
  listing(db.command('list').description('the tables themselves')).addHelpText('after', '\nExample:\n  ./weir db list').action(async (options: Common) => {
    printRows(await callAgent<Row[]>(chosenInstance(options), 'db list'), ['table', 'rows', 'revision', 'synced'], options.output);
  });
  listing(db.command('show <table>').description('the rows of one table, cut to one line each; -o yaml has them whole')).addHelpText('after', '\nExample:\n  ./weir db show endpoints -o yaml').action(async (table: string, options: Common) => {
    const rows = await callAgent<Row[]>(chosenInstance(options), 'db show', { table });
    const shown = options.output === 'table' ? rows.map((row) => Object.fromEntries(Object.entries(row).map(([field, value]) => [field, brief(value)]))) : rows;
    printRows(shown, [...new Set(rows.flatMap((row) => Object.keys(row)))], options.output);
  });
  registerBpf(program);
}

function registerNoun(program: Command, noun: Noun): void {
  const command = program.commands.find((known) => known.name() === noun.name) ?? program.command(noun.name).description(noun.summary);
  command.addHelpText('after', `\nExample:\n  ./weir ${noun.name} list`);
  const read = async (options: Common): Promise<Row[]> => callAgent<Row[]>(chosenInstance(options), 'db show', { table: noun.table });
  listing(command.command('list').description(`list ${noun.summary}`)).addHelpText('after', `\nExample:\n  ./weir ${noun.name} list -o json`).action(async (options: Common) => {
    const rows = await read(options);
    printRows(options.output === 'table' ? rows.map(noun.shape ?? ((row) => row)) : rows, noun.columns, options.output);
  });
  listing(command.command('get <key>').description('one of them, whole')).addHelpText('after', `\nExample:\n  ./weir ${noun.name} get KEY -o yaml (KEY: ${noun.keys.join(', ')})`).action(async (key: string, options: Common) => {
    const row = (await read(options)).find((one) => noun.keys.some((field) => String(one[field]) === key));
    if (row === undefined) throw new ConfigError(`no ${noun.name} ${JSON.stringify(key)}`, `see ./weir ${noun.name} list`);
    printObject(row, options.output);
  });
}

const views = [
  { name: 'policy', columns: ['endpoint', 'direction', 'policy', 'from', 'to', 'rules'], summary: 'the compiled policies, interval by interval' },
  { name: 'ct', columns: ['protocol', 'source', 'sourcePort', 'destination', 'destinationPort', 'state', 'packets', 'bytes', 'revoked'], summary: 'the connections that are tracked' },
  { name: 'lb', columns: ['frontend', 'scope', 'service', 'backends', 'maglev', 'affinity', 'flags'], summary: 'at which addresses services are reached, and who answers' },
  { name: 'nat', columns: ['protocol', 'source', 'sourcePort', 'destination', 'destinationPort', 'translated', 'translatedPort'], summary: 'which address and port stands for which outside' },
  { name: 'drops', columns: ['reason', 'direction', 'packets', 'bytes'], summary: 'what was dropped, and why' },
  { name: 'quota', columns: ['endpoint', 'held', 'quota', 'refused'], summary: 'whose connections fill the table, and how many each may have' },
  { name: 'l7', columns: ['endpoint', 'worker', 'connections', 'most', 'spent', 'dropped', 'refused'], summary: 'who uses Envoy: which worker has its new connections, open ones, its time as estimated, packets and connections beyond their share' },
  { name: 'ipcache', columns: ['prefix', 'identity', 'class', 'ifindex', 'host', 'node'], summary: 'the ipcache as the kernel has it' },
];

function registerBpf(program: Command): void {
  const bpf = program.command('bpf').description("what stands in the kernel's maps").addHelpText('after', '\nExample:\n  ./weir bpf ct');
  for (const view of views) {
    listing(bpf.command(view.name).description(view.summary)).addHelpText('after', `\nExample:\n  ./weir bpf ${view.name}`).action(async (options: Common) => {
      printRows(await callAgent<Row[]>(chosenInstance(options), `bpf ${view.name}`), view.columns, options.output);
    });
  }
}
