// Which agent a verb means where a name stands for several nodes: `--node NAME` before the verb.
import { existsSync } from 'node:fs';
import type { Command } from 'commander';
import { ConfigError } from '../agent/errors.ts';
import { instanceOf } from '../agent/instance.ts';
import { nodeInstance, nodeNames, readCluster } from '../agent/node/cluster.ts';

/** Verbs about all nodes: any of their agents can answer. */
const ofAll = new Set(['node', 'relay', 'watch']);
/** Verbs that need no agent, or are about the cluster as a whole. */
const ofNone = new Set(['up', 'down', 'agent', 'check']);

/** Puts the instance name of the node's agent in the place of the cluster's. */
export function selectNode(action: Command, node: string | undefined): void {
  const { instance, server, inputFile } = action.opts<{ instance?: unknown; server?: string; inputFile?: string }>();
  if (server !== undefined || inputFile !== undefined) return;
  let verb = action;
  while (verb.parent?.parent) verb = verb.parent;
  if (typeof instance !== 'string' || ofNone.has(verb.name()) || process.getuid?.() !== 0) return;
  const names = nodeNames(readCluster(instanceOf(instance))?.nodes ?? 0);
  if (node !== undefined && !names.includes(node)) {
    throw new ConfigError(`no node ${JSON.stringify(node)}`, names.length === 0 ? 'several nodes are started with ./weir up DIR --nodes 2' : `there are ${names.join(', ')}`);
  }
  const living = names.find((name) => existsSync(nodeInstance(instance, name).apiSocket));
  const chosen = node ?? (ofAll.has(verb.name()) ? living : undefined);
  if (chosen !== undefined) action.setOptionValue('instance', nodeInstance(instance, chosen).name);
  else if (names.length > 0) throw new ConfigError(`${instance} has several nodes: ${names.join(', ')}`, `say which, before the verb: ./weir --node ${names[0]} ${verb.name()} ...`);
}
