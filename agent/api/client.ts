// The command line's side of weir's own API.
import { existsSync } from 'node:fs';
import grpc from '@grpc/grpc-js';
import { ConfigError } from '../errors.ts';
import type { Instance } from '../instance.ts';
import { agentService, type CallRequest, type CallResponse } from './protocol.ts';

const timeoutMs = 60_000;

/** Throws ConfigError when no agent answers, and with the agent's own words when it refuses. */
export async function callAgent<Result>(instance: Instance, verb: string, parameters: object = {}): Promise<Result> {
  const start = `start one with: ./weir up DIR${instance.name === 'default' ? '' : ` --instance ${instance.name}`}`;
  if (process.getuid?.() !== 0) throw new ConfigError('only root may talk to the agent', 'run it with sudo');
  if (!existsSync(instance.apiSocket)) throw new ConfigError(`no agent runs under the instance name ${instance.name}`, start);
  const client = new grpc.Client(`unix://${instance.apiSocket}`, grpc.credentials.createInsecure());
  const call = agentService.Call;
  try {
    const response = await new Promise<CallResponse>((resolve, reject) => {
      const request: CallRequest = { verb, arguments: JSON.stringify(parameters) };
      client.makeUnaryRequest<CallRequest, CallResponse>(call.path, call.requestSerialize, call.responseDeserialize, request, { deadline: Date.now() + timeoutMs },
        (error, value) => { if (error) reject(error); else resolve(value!); });
    });
    return JSON.parse(response.result) as Result;
  } catch (error) {
    const { code, details } = error as grpc.ServiceError;
    if (code === grpc.status.UNAVAILABLE) throw new ConfigError(`the agent of instance ${instance.name} does not answer`, `./weir down cleans up, then ${start}`);
    const [message = '', mend] = (details ?? String(error)).split('\n');
    throw new ConfigError(message, mend);
  } finally {
    client.close();
  }
}
