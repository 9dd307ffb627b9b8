// The files of proto/ loaded at run time, and the gRPC services made of them, for servers and clients alike.
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { MethodDefinition } from '@grpc/grpc-js';
import protobuf from 'protobufjs';
import type {
  ChangeNotification, GetAgentEventsResponse, GetDebugEventsResponse, GetEventsRequest, GetFlowsRequest, GetFlowsResponse, GetNamespacesResponse, GetNodesResponse,
  ReflectionRequest, ReflectionResponse, ServerStatusResponse,
} from './types.ts';

const folder = fileURLToPath(new URL('../proto', import.meta.url));
/** Every type, by its full name. */
export const root = new protobuf.Root();
root.resolvePath = (_, target) => (protobuf.common.get(target) === null ? join(folder, target) : target);
root.loadSync([
  'observer/observer.proto', 'observer/health.proto', 'peer/peer.proto', 'grpc/reflection/v1/reflection.proto', 'grpc/reflection/v1alpha/reflection.proto',
], { keepCase: true });
root.resolveAll();

const lookupType = (name: string): protobuf.Type => root.lookupType(name);

export const flowMessage = lookupType('flow.Flow');
export const filterMessage = lookupType('flow.FlowFilter');
/** The name of a file of proto/, as others import it. */
export const protoFile = (path: string): string => (path.startsWith(folder) ? path.slice(folder.length + 1) : path);

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

type Method<Request, Response> = MethodDefinition<Request, Response | Buffer> & { responseDeserialize: (data: Buffer) => Response };

/** Responses that are encoded already pass as they are: one encoding serves every client. */
function method<Request, Response>(service: string, name: string): Method<Request, Response> {
  const definition = root.lookupService(service).methods[name]!;
  const request = definition.resolvedRequestType!;
  const response = definition.resolvedResponseType!;
  return {
    path: `/${service}/${name}`, requestStream: definition.requestStream === true, responseStream: definition.responseStream === true,
    requestSerialize: (message) => encode(request, message as object),
    requestDeserialize: (data) => request.decode(data) as unknown as Request,
    responseSerialize: (message) => (Buffer.isBuffer(message) ? message : encode(response, message as object)),
    responseDeserialize: (data) => response.decode(data) as unknown as Response,
  };
}

export const observerService = {
  GetFlows: method<GetFlowsRequest, GetFlowsResponse>('observer.Observer', 'GetFlows'),
  GetAgentEvents: method<GetEventsRequest, GetAgentEventsResponse>('observer.Observer', 'GetAgentEvents'),
  GetDebugEvents: method<GetEventsRequest, GetDebugEventsResponse>('observer.Observer', 'GetDebugEvents'),
  GetNodes: method<object, GetNodesResponse>('observer.Observer', 'GetNodes'),
  GetNamespaces: method<object, GetNamespacesResponse>('observer.Observer', 'GetNamespaces'),
  ServerStatus: method<object, ServerStatusResponse>('observer.Observer', 'ServerStatus'),
};

export const peerService = { Notify: method<object, ChangeNotification>('peer.Peer', 'Notify') };

export interface HealthCheckRequest { service?: string }
export interface HealthCheckResponse { status?: number }

export const healthService = {
  Check: method<HealthCheckRequest, HealthCheckResponse>('grpc.health.v1.Health', 'Check'),
  Watch: method<HealthCheckRequest, HealthCheckResponse>('grpc.health.v1.Health', 'Watch'),
};

/** Both versions say the same. */
export const reflectionServices = ['v1', 'v1alpha'].map((version) => ({
  ServerReflectionInfo: method<ReflectionRequest, ReflectionResponse>(`grpc.reflection.${version}.ServerReflection`, 'ServerReflectionInfo'),
}));
