// Server reflection (grpc.reflection.v1 and v1alpha): lists the services and hands out the files of proto/, for grpcurl and `hubble reflect`.
import type { Descriptors } from './descriptors.ts';
import type { GrpcServer } from './grpc/server.ts';
import { status } from './grpc/status.ts';
import { reflectionServices } from './proto.ts';
import type { ReflectionRequest, ReflectionResponse } from './types.ts';

let made: Promise<Descriptors> | undefined;
/** Few ask for them, and they are large. */
const descriptors = async (): Promise<Descriptors> => (made ??= import('./descriptors.ts').then(({ Descriptors: All }) => new All()));

/** `services`: the full names of what this server offers. */
export function addReflection(server: GrpcServer, services: readonly string[]): void {
  for (const service of reflectionServices) {
    const names = [...services, service.ServerReflectionInfo.path.split('/')[1]!].sort();
    server.stream(service.ServerReflectionInfo, (call, messages) => {
      let turn = Promise.resolve(); // answers come in the order of the questions
      messages.each = (request) => {
        turn = turn.then(async () => {
          call.write({ valid_host: request.host ?? '', original_request: request, ...answer(await descriptors(), names, request) });
        }).catch((error: unknown) => { call.fail(status.internal, String(error)); });
      };
      messages.ended = () => { void turn.then(() => { call.end(); }); };
    });
  }
}

function answer(known: Descriptors, services: readonly string[], request: ReflectionRequest): ReflectionResponse {
  if (Object.hasOwn(request, 'list_services')) return { list_services_response: { service: services.map((name) => ({ name })) } };
  const file = Object.hasOwn(request, 'file_by_filename') ? request.file_by_filename!
    : Object.hasOwn(request, 'file_containing_symbol') ? known.fileOf(request.file_containing_symbol!) : undefined;
  const files = file === undefined ? [] : known.withDependencies(file);
  if (files.length > 0) return { file_descriptor_response: { file_descriptor_proto: files } };
  return { error_response: { error_code: status.notFound, error_message: 'not found; there are no extensions' } };
}
