// weir's own API: a table of verbs on a unix socket that only root can open.
import { rmSync } from 'node:fs';
import grpc from '@grpc/grpc-js';
import { ConfigError, messageOf } from '../errors.ts';
import { agentService, type CallRequest, type CallResponse } from './protocol.ts';

export type Verb = (parameters: Readonly<Record<string, unknown>>) => unknown;

export async function serveApi(path: string, verbs: Readonly<Record<string, Verb>>): Promise<() => void> {
  const server = new grpc.Server();
  server.addService(agentService, {
    Call: (call: grpc.ServerUnaryCall<CallRequest, CallResponse>, done: grpc.sendUnaryData<CallResponse>) => {
      answer(verbs, call.request).then((result) => { done(null, { result: JSON.stringify(result, bigints) }); }, (error: unknown) => {
        const known = error instanceof ConfigError;
        const mend = known && error.mend !== undefined ? `\n${error.mend}` : '';
        done({ code: known ? grpc.status.INVALID_ARGUMENT : grpc.status.INTERNAL, details: `${messageOf(error)}${mend}` });
      });
    },
  });
  rmSync(path, { force: true });
  const mask = process.umask(0o177); // the socket is 0600 from its first moment
  try {
    await new Promise<void>((resolve, reject) => {
      server.bindAsync(`unix://${path}`, grpc.ServerCredentials.createInsecure(), (error) => { if (error) reject(error); else resolve(); });
    });
  } finally {
    process.umask(mask);
  }
  return () => {
    server.forceShutdown();
    rmSync(path, { force: true });
  };
}

const bigints = (_: string, value: unknown): unknown => (typeof value === 'bigint' ? Number(value) : value);

async function answer(verbs: Readonly<Record<string, Verb>>, request: CallRequest): Promise<unknown> {
  const verb = Object.hasOwn(verbs, request.verb) ? verbs[request.verb] : undefined;
  if (verb === undefined) throw new ConfigError(`this agent does not know ${JSON.stringify(request.verb)}`, 'use the ./weir of the same version');
  let parameters: unknown;
  try {
    parameters = request.arguments === '' ? {} : JSON.parse(request.arguments);
  } catch (error) {
    throw new ConfigError(`arguments of ${request.verb}: ${messageOf(error)}`);
  }
  return await verb(parameters as Record<string, unknown>) ?? null;
}
