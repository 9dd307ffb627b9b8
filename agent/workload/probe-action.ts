// One probe, once: a command inside the container, a connection or a request from this node to the workload's address.
import { spawn } from 'node:child_process';
import { request as requestPlain } from 'node:http';
import { request as requestTls } from 'node:https';
import { connect } from 'node:net';
import { messageOf } from '../errors.ts';
import { shimPath } from './build.ts';
import type { ProbeAction } from './probe-spec.ts';
import { version } from '../version.ts';

export interface ProbeTarget {
  /** Of the pod: what the shim's exec wants. */
  readonly folder: string;
  readonly container: string;
  readonly address: string;
}

/** `why`: of a failure. */
export interface ProbeAnswer { readonly ok: boolean; readonly why?: string }

const wordsKept = 200;

/** The command gets no input; its last words are kept. The shim's death takes the command with it (PDEATHSIG). */
function run({ folder, container }: ProbeTarget, command: readonly string[], timeoutMs: number): Promise<ProbeAnswer> {
  return new Promise((done) => {
    const child = spawn(shimPath, ['exec', folder, container, '--', ...command], { cwd: '/', env: {}, stdio: ['ignore', 'pipe', 'pipe'], timeout: timeoutMs, killSignal: 'SIGKILL' });
    let words = '';
    for (const stream of [child.stdout, child.stderr]) stream.on('data', (data: Buffer) => { words = `${words}${data.toString()}`.slice(-wordsKept); });
    child.once('error', (error) => { done({ ok: false, why: error.message }); });
    // Not `close`: something that the command left behind may hold the pipes.
    child.once('exit', (code, signal) => {
      child.stdout.destroy();
      child.stderr.destroy();
      const said = words.trim().split('\n').at(-1)!;
      if (code === 0) done({ ok: true });
      else done({ ok: false, why: signal === 'SIGKILL' ? `no end within ${timeoutMs} ms` : `exit ${code ?? signal}${said === '' ? '' : `: ${said}`}` });
    });
  });
}

function dial({ address }: ProbeTarget, port: number, timeoutMs: number): Promise<ProbeAnswer> {
  return new Promise((done) => {
    const socket = connect({ host: address, port });
    const end = (answer: ProbeAnswer): void => {
      clearTimeout(timer);
      socket.destroy();
      done(answer);
    };
    const timer = setTimeout(() => { end({ ok: false, why: `port ${port}: no connection within ${timeoutMs} ms` }); }, timeoutMs);
    socket.once('connect', () => { end({ ok: true }); });
    socket.on('error', ({ message }) => { end({ ok: false, why: message }); });
  });
}

/** 200 to 399 are well; the body is not read, a redirect not followed, a certificate not checked: as kubelet. */
function get({ address }: ProbeTarget, { port, path, tls, headers }: Extract<ProbeAction, { kind: 'http' }>, timeoutMs: number): Promise<ProbeAnswer> {
  return new Promise((done) => {
    const request = (tls ? requestTls : requestPlain)({
      host: address, port, path: escaped(path), headers: { 'User-Agent': `kube-probe/weir-${version}`, Accept: '*/*', Connection: 'close', ...headers }, agent: false,
      ...(tls ? { rejectUnauthorized: false } : {}),
    });
    const end = (answer: ProbeAnswer): void => {
      clearTimeout(timer);
      request.destroy();
      done(answer);
    };
    const timer = setTimeout(() => { end({ ok: false, why: `GET ${path}: no answer within ${timeoutMs} ms` }); }, timeoutMs);
    request.once('response', ({ statusCode = 0 }) => { end(statusCode >= 200 && statusCode < 400 ? { ok: true } : { ok: false, why: `GET ${path}: HTTP ${statusCode}` }); });
    request.on('error', ({ message }) => { end({ ok: false, why: `GET ${path}: ${message}` }); });
    request.end();
  });
}

/** Blanks and letters beyond ASCII become percent signs; those that are written stay. */
const escaped = (path: string): string => encodeURI(path).replace(/%25([0-9a-f]{2})/gi, '%$1');

/** Never throws: whatever goes wrong is an answer. */
export async function probeOnce(target: ProbeTarget, action: ProbeAction, timeoutMs: number): Promise<ProbeAnswer> {
  try {
    if (action.kind === 'exec') return await run(target, action.command, timeoutMs);
    return await (action.kind === 'tcp' ? dial(target, action.port, timeoutMs) : get(target, action, timeoutMs));
  } catch (error) {
    return { ok: false, why: messageOf(error) };
  }
}
