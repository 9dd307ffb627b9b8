// The files of proto/ as FileDescriptorProtos, the form in which gRPC clients learn messages from a server.
import protobuf from 'protobufjs';
import descriptor from 'protobufjs/ext/descriptor.js';
import { protoFile, root } from './proto.ts';

export interface File { readonly name: string; readonly dependencies: readonly string[]; readonly bytes: Buffer }

type Named = protobuf.Type | protobuf.Enum | protobuf.Service;

const isNamed = (object: protobuf.ReflectionObject): object is Named =>
  object instanceof protobuf.Type || object instanceof protobuf.Enum || object instanceof protobuf.Service;

/** protobufjs has the well-known types built in and forgets which file they stand in. */
const wellKnown = new Map(root.files.flatMap((file) => {
  const json = protobuf.common.get(file) as { nested?: { google?: { nested?: { protobuf?: { nested?: object } } } } } | null;
  return Object.keys(json?.nested?.google?.nested?.protobuf?.nested ?? {}).map((name): [string, string] => [`.google.protobuf.${name}`, file]);
}));

function outermost(object: protobuf.ReflectionObject): protobuf.ReflectionObject {
  let top = object;
  while (top.parent instanceof protobuf.Type) top = top.parent;
  return top;
}

/** Undefined: it stands in no file. */
function fileOf(object: protobuf.ReflectionObject): string | undefined {
  const top = outermost(object);
  return top.filename === null ? wellKnown.get(top.fullName) : protoFile(top.filename);
}

export class Descriptors {
  readonly #files = new Map<string, File>();
  readonly #symbols = new Map<string, string>();

  constructor() {
    const members = new Map<string, Named[]>();
    const visit = (namespace: protobuf.NamespaceBase): void => {
      for (const object of namespace.nestedArray) {
        const file = isNamed(object) ? fileOf(object) : undefined;
        if (isNamed(object) && file !== undefined) {
          this.#symbols.set(object.fullName.slice(1), file);
          if (object instanceof protobuf.Service) for (const method of object.methodsArray) this.#symbols.set(method.fullName.slice(1), file);
          if (outermost(object) === object) members.set(file, [...members.get(file) ?? [], object]);
        }
        if (object instanceof protobuf.Namespace) visit(object);
      }
    };
    visit(root);
    for (const [name, objects] of members) this.#files.set(name, describe(name, objects));
  }

  /** The file, then every file that it needs. */
  withDependencies(name: string): Buffer[] {
    const found = new Set<string>();
    const add = (file: string): void => {
      if (found.has(file)) return;
      found.add(file);
      this.#files.get(file)?.dependencies.forEach(add);
    };
    add(name);
    return [...found].flatMap((file) => this.#files.get(file)?.bytes ?? []);
  }

  /** The file in which a message, enum, service or method stands. */
  fileOf(symbol: string): string | undefined { return this.#symbols.get(symbol); }
}

function describe(name: string, objects: readonly Named[]): File {
  const dependencies = new Set<string>();
  const need = (type: protobuf.Type | protobuf.Enum | null): void => {
    const file = type === null ? undefined : fileOf(type);
    if (file !== undefined && file !== name) dependencies.add(file);
  };
  const messageType = objects.filter((object) => object instanceof protobuf.Type).map((type) => describeType(type, need));
  const service = objects.filter((object) => object instanceof protobuf.Service).map((object) => {
    for (const method of object.methodsArray) { need(method.resolvedRequestType); need(method.resolvedResponseType); }
    return object.toDescriptor();
  });
  const enumType = objects.filter((object) => object instanceof protobuf.Enum).map((object) => object.toDescriptor());
  const file = {
    name, package: objects[0]!.parent!.fullName.slice(1), syntax: 'proto3', dependency: [...dependencies], messageType, enumType, service,
  };
  return { name, dependencies: [...dependencies], bytes: Buffer.from(descriptor.FileDescriptorProto.encode(file).finish()) };
}

/** protobufjs writes type names as the file had them; others want them from the root. */
function describeType(type: protobuf.Type, need: (type: protobuf.Type | protobuf.Enum | null) => void): ReturnType<protobuf.Type['toDescriptor']> {
  const described = type.toDescriptor('proto3');
  for (const field of described.field ?? []) {
    const { resolvedType } = type.fields[field.name!]!.resolve();
    need(resolvedType);
    if (resolvedType !== null) field.typeName = resolvedType.fullName;
  }
  described.nestedType = type.nestedArray.filter((object) => object instanceof protobuf.Type).map((nested) => describeType(nested, need));
  return described;
}
