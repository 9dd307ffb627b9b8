// Which node of a cluster a pod runs on: the one it names, else one by its name, the same at every start and for every agent. The replicas of a
// Deployment follow each other around the nodes.
import { createHash } from 'node:crypto';

export interface Placement {
  /** This node. */
  readonly node: string;
  readonly nodes: readonly string[];
}

/** `name`: of the Pod or Deployment. */
export function nodeOf(namespace: string, name: string, replica: number, nodes: readonly string[]): string {
  const first = createHash('sha256').update(`${namespace}/${name}`).digest().readUInt32BE() % nodes.length;
  return nodes[(first + replica) % nodes.length]!;
}
