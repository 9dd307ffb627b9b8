// The agent's side of the Hubble API: hands the observer, the changes of the tables and the peers to hubble/serve.ts.
import { AgentEvents } from '../../hubble/agent-events.ts';
import { RequestError } from '../../hubble/errors.ts';
import type { Observer } from '../../hubble/observer.ts';
import type { HubbleOptions } from '../../hubble/options.ts';
import { Peers, serverNameOf, type Peer } from '../../hubble/peer.ts';
import { serveHubble } from '../../hubble/serve.ts';
import { ConfigError } from '../errors.ts';
import type { Instance } from '../instance.ts';
import { reportChanges, type Watched } from './agent-events.ts';

/** Throws ConfigError when it cannot listen where the user wants it to. The result ends it. */
export async function serveFlows(observer: Observer, instance: Instance, tables: Watched, { listen }: HubbleOptions, log: (line: string) => void): Promise<() => void> {
  const events = new AgentEvents(observer.nodeName);
  const peers = new Peers();
  const stopEvents = reportChanges(tables, events);
  const serving = await serveHubble({ observer, events, peers }, { socketPath: instance.hubbleSocket, ...(listen && { listen }), log }).catch((error: unknown) => {
    stopEvents();
    throw error instanceof RequestError ? new ConfigError(error.message) : error;
  });
  peers.set([selfOf(observer.nodeName, instance, listen, serving.port)]);
  return () => {
    serving.close();
    stopEvents();
  };
}

/** Who listens on every address of the node is reached by its name. */
function selfOf(nodeName: string, { hubbleSocket }: Instance, listen: HubbleOptions['listen'], port: number | undefined): Peer {
  if (listen === undefined || port === undefined) return { name: nodeName, address: `unix://${hubbleSocket}` };
  const host = listen.address.slice(0, listen.address.lastIndexOf(':'));
  return { name: nodeName, address: `${host === '' || host === '[::]' || host === '0.0.0.0' ? nodeName : host}:${port}`, ...(listen.tls && { serverName: serverNameOf(nodeName) }) };
}
