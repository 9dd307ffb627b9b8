// Envoy's messages (proto/envoy) as bytes: what the files of this folder build as plain objects, under the names that Envoy knows.
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import protobuf from 'protobufjs';

const folder = fileURLToPath(new URL('../../proto', import.meta.url));
const root = new protobuf.Root();
root.resolvePath = (_, target) => (target.startsWith(folder) ? target : join(folder, target));
root.loadSync(['discovery', 'listener', 'http', 'accesslog'].map((name) => `envoy/${name}.proto`), { keepCase: true });
root.resolveAll();

const network = 'envoy.extensions.filters.network';
const listener = 'envoy.extensions.filters.listener';
const tls = 'envoy.extensions.transport_sockets.tls.v3';
/** The full name of each message that travels as an Any. */
const names = {
  Listener: 'envoy.config.listener.v3.Listener',
  RouteConfiguration: 'envoy.config.route.v3.RouteConfiguration',
  Secret: `${tls}.Secret`,
  DownstreamTlsContext: `${tls}.DownstreamTlsContext`,
  HttpConnectionManager: `${network}.http_connection_manager.v3.HttpConnectionManager`,
  TcpProxy: `${network}.tcp_proxy.v3.TcpProxy`,
  SetFilterState: `${network}.set_filter_state.v3.Config`,
  DirectClose: `${network}.direct_response.v3.Config`,
  Router: 'envoy.extensions.filters.http.router.v3.Router',
  OriginalDst: `${listener}.original_dst.v3.OriginalDst`,
  OriginalSrc: `${listener}.original_src.v3.OriginalSrc`,
  TlsInspector: `${listener}.tls_inspector.v3.TlsInspector`,
  HttpGrpcAccessLogConfig: 'envoy.extensions.access_loggers.grpc.v3.HttpGrpcAccessLogConfig',
  TcpGrpcAccessLogConfig: 'envoy.extensions.access_loggers.grpc.v3.TcpGrpcAccessLogConfig',
  ServerNameInput: 'envoy.extensions.matching.common_inputs.network.v3.ServerNameInput',
  TransportProtocolInput: 'envoy.extensions.matching.common_inputs.network.v3.TransportProtocolInput',
  StringValue: 'google.protobuf.StringValue',
} as const;
export type AnyName = keyof typeof names;

/** A message as a plain object, with Envoy's names of fields; enums by name. */
export type Message = Readonly<Record<string, unknown>>;

export const messageType = (name: string): protobuf.Type => root.lookupType(`envoy.${name}`);
export const typeUrl = (name: AnyName): string => `type.googleapis.com/${names[name]}`;

export function encode(name: string, message: Message): Buffer {
  const type = messageType(name);
  const bytes = type.encode(type.fromObject(message)).finish();
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

export const any = (name: AnyName, message: Message): Message => ({ type_url: typeUrl(name), value: encode(name, message) });
export const duration = (ms: number): Message => ({ seconds: Math.floor(ms / 1_000), nanos: (ms % 1_000) * 1e6 });
