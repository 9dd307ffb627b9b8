// The service of proto/weir/agent.proto for @grpc/grpc-js, both sides.
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { ServiceDefinition } from '@grpc/grpc-js';
import protobuf from 'protobufjs';

export interface CallRequest { readonly verb: string; readonly arguments: string }
export interface CallResponse { readonly result: string }

const root = protobuf.loadSync(join(fileURLToPath(new URL('../../proto/weir', import.meta.url)), 'agent.proto'));
const request = root.lookupType('weir.CallRequest');
const response = root.lookupType('weir.CallResponse');

const encoder = (type: protobuf.Type) => (value: object): Buffer => Buffer.from(type.encode(value).finish());

export const agentService = {
  Call: {
    path: '/weir.Agent/Call', requestStream: false, responseStream: false,
    requestSerialize: encoder(request), requestDeserialize: (data: Buffer) => request.decode(data) as unknown as CallRequest,
    responseSerialize: encoder(response), responseDeserialize: (data: Buffer) => response.decode(data) as unknown as CallResponse,
  },
} satisfies ServiceDefinition;
