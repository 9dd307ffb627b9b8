// Messages as JSON and back, by the rules of protobuf's JSON mapping but with the proto's own field names, as Hubble prints them.
import protobuf from 'protobufjs';
import protojson from 'protobufjs/ext/protojson.js';
import type { Timestamp } from './types.ts';

type Message = Record<string, unknown>;

/** In the order of the field numbers; what has its default value is left out. */
export function toJson(type: protobuf.Type, message: object): Message {
  const json: Message = {};
  for (const field of fieldsOf(type)) {
    const value = Object.hasOwn(message, field.name) ? (message as Message)[field.name] : undefined;
    if (value === undefined || value === null) continue;
    if (field.repeated) {
      const list = value as unknown[];
      if (list.length > 0) json[field.name] = list.map((item) => valueToJson(field, item));
    } else if (field.resolvedType instanceof protobuf.Type || field.partOf || !isDefault(value)) {
      json[field.name] = valueToJson(field, value);
    }
  }
  return json;
}

/** Throws with the path of what does not fit. */
export const fromJson = <Result extends object>(type: protobuf.Type, json: unknown, ignoreUnknownFields = false): Result =>
  protojson.fromJson(type, json, { ignoreUnknownFields }) as Result;

const fieldCache = new WeakMap<protobuf.Type, readonly protobuf.Field[]>();

function fieldsOf(type: protobuf.Type): readonly protobuf.Field[] {
  let fields = fieldCache.get(type);
  if (fields === undefined) {
    fields = [...type.fieldsArray].sort((a, b) => a.id - b.id);
    fieldCache.set(type, fields);
  }
  return fields;
}

const isDefault = (value: unknown): boolean => value === 0 || value === '' || value === false || String(value) === '0';

function valueToJson(field: protobuf.Field, value: unknown): unknown {
  const type = field.resolvedType;
  if (type === null) return /64$/.test(field.type) ? String(value) : value;
  if (type instanceof protobuf.Enum) return type.valuesById[value as number] ?? value;
  switch (type.fullName) {
    case '.google.protobuf.Timestamp': return formatTimestamp(value as Timestamp);
    case '.google.protobuf.BoolValue': return (value as { value?: boolean }).value ?? false;
    case '.google.protobuf.Int32Value': case '.google.protobuf.UInt32Value': return (value as { value?: number }).value ?? 0;
    default: return toJson(type, value as object);
  }
}

/** RFC 3339 in UTC with 0, 3, 6 or 9 digits of the second. */
export function formatTimestamp(time: Timestamp): string {
  const nanos = String(time.nanos ?? 0).padStart(9, '0');
  const digits = nanos === '000000000' ? '' : `.${nanos.replace(/(000){1,2}$/, '')}`;
  return `${new Date(Number(time.seconds) * 1000).toISOString().slice(0, 19)}${digits}Z`;
}
