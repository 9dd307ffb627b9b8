// `weir workload run`: a pod from command-line arguments, checked like one from a file.
import { ConfigError } from '../errors.ts';
import type { PodRow } from './tables.ts';

const label = /^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$/;

const dictionary = (value: unknown): Record<string, string> => Object.fromEntries(Object.entries((value ?? {}) as object).map(([key, text]) => [key, String(text)]));

/** Throws ConfigError naming the argument. */
export function podOf(parameters: Readonly<Record<string, unknown>>, allowRoot: boolean): PodRow {
  const { name, namespace = 'default', command, user, serviceAccount = 'default', workingDir = '/' } = parameters;
  for (const [what, value] of [['--name', name], ['--namespace', namespace]] as const) {
    if (typeof value !== 'string' || !label.test(value)) throw new ConfigError(`${what} ${JSON.stringify(value)}: expected at most 63 of a-z, 0-9 and "-"`, 'for example --name client');
  }
  if (!Array.isArray(command) || command.length === 0 || command.some((part) => typeof part !== 'string')) {
    throw new ConfigError('no command to run', 'for example: ./weir workload run --name client -- sleep 60');
  }
  if (user === 0 && !allowRoot) throw new ConfigError('--user 0: this agent runs no workload as root', 'start it with ./weir up --allow-root');
  return {
    key: `${String(namespace)}/${String(name)}`, namespace: String(namespace), name: String(name), labels: dictionary(parameters['labels']),
    serviceAccount: String(serviceAccount), restartPolicy: parameters['restart'] === true ? 'Always' : 'Never', terminationGracePeriodMs: 1_000, namedPorts: [],
    containers: [{ name: 'main', command: command as string[], env: dictionary(parameters['env']), workingDir: String(workingDir), ...(typeof user === 'number' ? { runAsUser: user } : {}) }],
  };
}
