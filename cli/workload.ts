// workload run|exec|logs|list|delete: workloads by hand, and what those of the directory are doing.
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import type { Command } from 'commander';
import { callAgent } from '../agent/api/client.ts';
import { ConfigError } from '../agent/errors.ts';
import type { Instance } from '../agent/instance.ts';
import { shimPath } from '../agent/workload/build.ts';
import { followLog, readLog } from '../agent/workload/logs.ts';
import type { WorkloadRow } from '../agent/workload/tables.ts';
import { chosenInstance, instanceOption, listing, wholeNumber, type Common } from './options.ts';
import { printRows, printable } from './print.ts';
import { reasonsOf } from './reasons.ts';

const keyOf = (name: string): string => (name.includes('/') ? name : `default/${name}`);

async function find(instance: Instance, name: string): Promise<{ row: WorkloadRow; folder: string }> {
  const rows = await callAgent<WorkloadRow[]>(instance, 'db show', { table: 'workloads' });
  const exact = rows.find((row) => row.key === keyOf(name));
  // `shop/web` means the one replica of the Deployment `web`, while there is only one.
  const replicas = rows.filter((row) => `${row.namespace}/${row.pod.owner?.name ?? ''}` === keyOf(name));
  const row = exact ?? (replicas.length > 0 ? replicas[0] : undefined);
  if (row === undefined) throw new ConfigError(`no workload ${keyOf(name)}`, 'see ./weir workload list');
  return { row, folder: join(instance.stateDir, 'pods', row.uid) };
}

/** The container that is meant: the first, unless it is named. */
function containerOf({ key, pod }: WorkloadRow, name: string | undefined): string {
  const names = pod.containers.map((container) => container.name);
  if (name !== undefined && !names.includes(name)) throw new ConfigError(`no container ${JSON.stringify(name)} in ${key}`, `use --container with one of: ${names.join(', ')}`);
  return name ?? names[0]!;
}

const pairs = (list: readonly string[], flag: string): Record<string, string> => Object.fromEntries(list.map((text) => {
  const at = text.indexOf('=');
  if (at < 1) throw new ConfigError(`${flag} ${text}: expected KEY=VALUE`, `for example ${flag} app=client`);
  return [text.slice(0, at), text.slice(at + 1)];
}));

const collect = (value: string, list: string[]): string[] => [...list, value];

interface RunOptions extends Common { name: string; namespace: string; label: string[]; env: string[]; user?: number; workingDir: string; serviceAccount: string; restart?: boolean }

export function register(program: Command): void {
  const workload = program.command('workload').description('workloads: processes in network namespaces of their own').addHelpText('after', '\nExample:\n  ./weir workload list');
  listing(workload.command('list').description('all workloads and their state')).addHelpText('after', '\nExample:\n  ./weir workload list').action(async (options: Common) => {
    const rows = await callAgent<WorkloadRow[]>(chosenInstance(options), 'db show', { table: 'workloads' });
    const told = rows.map((row) => ({ ...row, ready: row.ready ? 'yes' : 'no', restarts: row.containers.reduce((sum, one) => sum + one.restarts, 0), why: reasonsOf(row) }));
    printRows(options.output === 'table' ? told : rows.map((row) => ({ ...row })), ['namespace', 'name', 'phase', 'ready', 'restarts', 'why'], options.output);
  });

  workload.command('run').description('runs a command as a workload').argument('<command...>', 'the program and its arguments, after --')
    .requiredOption('--name <name>', 'its name').option('--namespace <namespace>', 'its namespace', 'default')
    .option('--label <key=value>', 'a label (repeat for more)', collect, []).option('--env <key=value>', 'an environment variable (repeat for more)', collect, [])
    .option('--user <uid>', 'run as this user id instead of one of its own', wholeNumber).option('--working-dir <dir>', 'where it starts', '/')
    .option('--service-account <name>', 'its service account', 'default').option('--restart', 'start it again when it ends').addOption(instanceOption())
    .addHelpText('after', '\nExample:\n  ./weir workload run --name client --label app=client -- sleep 3600')
    .action(async (command: string[], options: RunOptions) => {
      const { name, namespace, user, workingDir, serviceAccount, restart } = options;
      const { key } = await callAgent<{ key: string }>(chosenInstance(options), 'workload run', {
        name, namespace, command, labels: pairs(options.label, '--label'), env: pairs(options.env, '--env'), user, workingDir, serviceAccount, restart,
      });
      process.stdout.write(`${key} starts: see ./weir workload list\n`);
    });

  workload.command('delete').description('ends a workload that was run by hand').argument('<workload>', 'NAMESPACE/NAME').addOption(instanceOption())
    .addHelpText('after', '\nExample:\n  ./weir workload delete default/client')
    .action(async (name: string, options: Common) => {
      const { key } = await callAgent<{ key: string }>(chosenInstance(options), 'workload delete', { key: keyOf(name) });
      process.stdout.write(`${key} deleted\n`);
    });

  workload.command('exec').description('runs a command inside a workload').argument('<workload>', 'NAMESPACE/NAME').argument('<command...>', 'the program and its arguments, after --')
    .option('-c, --container <name>', 'which container, when there are several').addOption(instanceOption())
    .addHelpText('after', '\nExample:\n  ./weir workload exec shop/web -- ip address')
    .action(async (name: string, command: string[], options: Common & { container?: string }) => {
      const { row, folder } = await find(chosenInstance(options), name);
      const container = containerOf(row, options.container);
      if (row.phase !== 'Running') throw new ConfigError(`${row.key} does not run: it is ${row.phase}`, `see ./weir workload list, and ./weir workload logs ${row.key}`);
      const result = spawnSync(shimPath, ['exec', folder, container, '--', ...command], { stdio: 'inherit' });
      process.exitCode = result.status ?? 1;
    });

  workload.command('logs').description('what a workload printed').argument('<workload>', 'NAMESPACE/NAME').option('-f, --follow', 'and what it prints from now on')
    .option('--tail <lines>', 'how many lines', wholeNumber, 100).option('-c, --container <name>', 'which container, when there are several').addOption(instanceOption())
    .addHelpText('after', '\nExample:\n  ./weir workload logs shop/web --follow')
    .action(async (name: string, options: Common & { container?: string; follow?: boolean; tail: number }) => {
      const { row, folder } = await find(chosenInstance(options), name);
      const container = containerOf(row, options.container);
      for (const line of readLog(folder, container, { tail: options.tail })) process.stdout.write(`${printable(line)}\n`);
      if (options.follow !== true) return;
      for await (const line of followLog(folder, container)) process.stdout.write(`${printable(line)}\n`);
    });
}
