// Field masks: "time,source.pod_name" leaves of a flow what was asked for. Paths are checked against the proto file.
import protobuf from 'protobufjs';
import { RequestError } from './errors.ts';
import { flowMessage } from './proto.ts';
import type { Flow } from './types.ts';

/** `true`: the whole field. */
interface Tree { [field: string]: Tree | true }

const maxPaths = 256;

/** Undefined when there is nothing to mask. */
export function compileFieldMask(paths: readonly string[]): ((flow: Flow) => Flow) | undefined {
  if (paths.length === 0) return undefined;
  if (paths.length > maxPaths) throw new RequestError(`field mask: ${paths.length} paths, at most ${maxPaths} are taken`);
  const tree: Tree = {};
  for (const path of paths) addPath(tree, path);
  return (flow) => pick(flow as Record<string, unknown>, tree) as Flow;
}

function addPath(tree: Tree, path: string): void {
  const names = path.split('.');
  let type: protobuf.Type | null = flowMessage;
  let node = tree;
  for (const [index, name] of names.entries()) {
    const field: protobuf.Field | undefined = type !== null && Object.hasOwn(type.fields, name) ? type.fields[name] : undefined;
    if (field === undefined) throw new RequestError(`field mask: a flow has no field ${JSON.stringify(path)}`);
    field.resolve();
    type = field.resolvedType instanceof protobuf.Type && !field.repeated ? field.resolvedType : null;
    const known = node[name];
    if (known === true) return;
    if (index === names.length - 1) node[name] = true;
    else node = known ?? (node[name] = {});
  }
}

function pick(message: Record<string, unknown>, tree: Tree): Record<string, unknown> {
  const picked: Record<string, unknown> = {};
  for (const [field, below] of Object.entries(tree)) {
    const value = Object.hasOwn(message, field) ? message[field] : undefined;
    if (value === undefined || value === null) continue;
    picked[field] = below === true ? value : pick(value as Record<string, unknown>, below);
  }
  return picked;
}
