// The files of proto/ loaded at run time, and the gRPC services made of them, for servers and clients alike.
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { MethodDefinition } from '@grpc/grpc-js';
import protobuf from 'protobufjs';
import type { GetFlowsRequest, GetFlowsResponse, GetNamespacesResponse, ServerStatusResponse } from './types.ts';

const folder = fileURLToPath(new URL('../proto', import.meta.url));
const root = new protobuf.Root();
root.resolvePath = (_, target) => (protobuf.common.get(target) === null ? join(folder, target) : target);
root.loadSync(['observer/observer.proto', 'observer/health.proto', 'peer/peer.proto'], { keepCase: true });
root.resolveAll();

const lookupType = (name: string): protobuf.Type => root.lookupType(name);

export const flowMessage = lookupType('flow.Flow');
export const filterMessage = lookupType('flow.FlowFilter');
export const getFlowsResponseMessage = lookupType('observer.GetFlowsResponse');

/** The names of an enum by number: `enumNames('flow.Verdict').get(2) === 'DROPPED'`. */
export const enumNames = (name: string): ReadonlyMap<number, string> =>
  new Map(Object.entries(root.lookupEnum(name).values).map(([text, number]) => [number, text]));

/** The numbers of an enum by name. */
export const enumNumbers = (name: string): ReadonlyMap<string, number> => new Map(Object.entries(root.lookupEnum(name).values));

export const encode = (type: protobuf.Type, message: object): Buffer => {
  const bytes = type.encode(message).finish();
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
};

/** Responses that are encoded already pass as they are: one encoding serves every client. */
function method<Request, Response>(service: string, name: string, streams: boolean): MethodDefinition<Request, Response | Buffer> & { responseDeserialize: (data: Buffer) => Response } {
  const definition = root.lookupService(service).methods[name]!;
  const request = definition.resolvedRequestType!;
  const response = definition.resolvedResponseType!;
  return {
    path: `/${service}/${name}`, requestStream: false, responseStream: streams,
    requestSerialize: (message) => encode(request, message as object),
    requestDeserialize: (data) => request.decode(data) as unknown as Request,
    responseSerialize: (message) => (Buffer.isBuffer(message) ? message : encode(response, message as object)),
    responseDeserialize: (data) => response.decode(data) as unknown as Response,
  };
}

export const observerService = {
  GetFlows: method<GetFlowsRequest, GetFlowsResponse>('observer.Observer', 'GetFlows', true),
  GetAgentEvents: method<object, object>('observer.Observer', 'GetAgentEvents', true),
  GetDebugEvents: method<object, object>('observer.Observer', 'GetDebugEvents', true),
  GetNodes: method<object, object>('observer.Observer', 'GetNodes', false),
  GetNamespaces: method<object, GetNamespacesResponse>('observer.Observer', 'GetNamespaces', false),
  ServerStatus: method<object, ServerStatusResponse>('observer.Observer', 'ServerStatus', false),
};

export interface HealthCheckRequest { service?: string }
export interface HealthCheckResponse { status?: number }

export const healthService = { Check: method<HealthCheckRequest, HealthCheckResponse>('grpc.health.v1.Health', 'Check', false) };
