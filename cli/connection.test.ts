// Where the verbs of Hubble get their settings from, what they refuse, and that TLS and passwords reach the server.
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import grpc from '@grpc/grpc-js';
import { Command } from 'commander';
import { Observer, serveHubble } from '../hubble/observer.ts';
import { observerService } from '../hubble/proto.ts';
import { servedOf } from '../hubble/testing.ts';
import { TestCa } from '../hubble/testing-certificates.ts';
import { connectionFlags, connectionOf, type Server } from './connection.ts';
import { withClient } from './hubble-client.ts';

let folder: string;
let cwd: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'connection-'));
  cwd = process.cwd();
  process.chdir(folder);
});
afterEach(() => {
  process.chdir(cwd);
  rmSync(folder, { recursive: true });
});

function connection(args: readonly string[], environment: Readonly<Record<string, string>> = {}): Server {
  const command = connectionFlags(new Command().exitOverride());
  command.parse([...args], { from: 'user' });
  return connectionOf(command, { HOME: folder, ...environment });
}

interface Case { readonly name: string; readonly args?: string[]; readonly env?: Record<string, string>; readonly files?: Record<string, string> }

function lay(files: Readonly<Record<string, string>> = {}): void {
  for (const [path, content] of Object.entries(files)) {
    mkdirSync(join(folder, path, '..'), { recursive: true });
    writeFileSync(join(folder, path), content);
  }
}

describe('settings', () => {
  test.each<Case & { address: string }>([
    { name: 'the agent of this machine', address: 'unix:///run/weir/default/hubble.sock' },
    { name: 'the agent of an instance', args: ['--instance', 'lab'], address: 'unix:///run/weir/lab/hubble.sock' },
    { name: 'a flag', args: ['--server', 'a:1'], env: { HUBBLE_SERVER: 'b:1' }, address: 'a:1' },
    { name: 'HUBBLE_SERVER', env: { HUBBLE_SERVER: 'b:1' }, address: 'b:1' },
    { name: 'WEIR_SERVER before HUBBLE_SERVER', env: { WEIR_SERVER: 'c:1', HUBBLE_SERVER: 'b:1' }, address: 'c:1' },
    { name: 'an instance that is named before the environment', args: ['--instance', 'lab'], env: { HUBBLE_SERVER: 'b:1' }, address: 'unix:///run/weir/lab/hubble.sock' },
    { name: 'the file of this folder', files: { 'config.yaml': 'server: d:1' }, address: 'd:1' },
    { name: 'the environment before a file', env: { HUBBLE_SERVER: 'b:1' }, files: { 'config.yaml': 'server: d:1' }, address: 'b:1' },
    { name: 'the file of the user', files: { '.config/hubble/config.yaml': 'server: e:1' }, address: 'e:1' },
    { name: 'where the user has it', env: { XDG_CONFIG_HOME: 'other' }, files: { 'other/hubble/config.yaml': 'server: e:1' }, address: 'e:1' },
    { name: 'the file of the home folder', files: { '.hubble/config.yaml': 'server: f:1' }, address: 'f:1' },
    { name: 'a file that is named', args: ['--config', 'x.yaml'], files: { 'x.yaml': 'server: g:1', 'config.yaml': 'server: d:1' }, address: 'g:1' },
    { name: 'a file of this folder that is none of ours', files: { 'config.yaml': 'kind: ConfigMap\n---\nserver: d:1', '.hubble/config.yaml': 'server: f:1' }, address: 'f:1' },
    { name: 'tls:// is no part of the address', args: ['--server', 'tls://a:1'], address: 'a:1' },
  ])('$name', ({ args = [], env, files, address }) => {
    lay(files);
    expect(connection(args, env).address).toBe(address);
  });

  test('time limits', () => {
    expect(connection([])).toMatchObject({ dialTimeoutMs: 5_000, requestTimeoutMs: 12_000 });
    expect(connection(['--timeout', '1m'], { HUBBLE_TIMEOUT: '2s', HUBBLE_REQUEST_TIMEOUT: '300ms' })).toMatchObject({ dialTimeoutMs: 60_000, requestTimeoutMs: 300 });
  });

  test.each<Case & { says: RegExp }>([
    { name: 'a certificate without its key', args: ['--tls', '--tls-client-cert-file', 'x'], says: /certificate and private key are both required/ },
    { name: 'a certificate without TLS', args: ['--tls-client-cert-file', 'x', '--tls-client-key-file', 'y'], says: /transport layer security required/ },
    { name: 'a password without TLS', args: ['--basic-auth-username', 'x', '--basic-auth-password', 'y'], says: /transport layer security required/ },
    { name: 'a user without a password', args: ['--tls', '--basic-auth-username', 'x'], says: /go together/ },
    { name: 'a CA file that is not there', args: ['--tls', '--tls-ca-cert-files', '/nope'], says: /read \/nope: ENOENT/ },
    { name: 'what is no address', args: ['--server', 'x'], says: /--server x: not an address/ },
    { name: 'what is no duration', env: { HUBBLE_TIMEOUT: 'soon' }, says: /--timeout soon: expected a duration/ },
    { name: 'a file that is not there', args: ['--config', 'nope.yaml'], says: /read nope.yaml: ENOENT/ },
    { name: 'a named file that is no mapping', args: ['--config', 'x.yaml'], files: { 'x.yaml': '[]' }, says: /one mapping of settings/ },
    { name: '--port-forward', args: ['-P'], says: /--port-forward reaches a relay inside Kubernetes, which weir does not speak yet/ },
    { name: 'it by the environment', env: { HUBBLE_PORT_FORWARD: 'true' }, says: /--port-forward reaches a relay inside Kubernetes/ },
    { name: '--auto-port-forward', args: ['--auto-port-forward', '--kube-namespace', 'x', '--kube-context', 'y', '--kubeconfig', 'z', '--port-forward-port', '0'], says: /--auto-port-forward reaches a relay inside Kubernetes/ },
    { name: 'a flag that is neither true nor false', env: { HUBBLE_TLS: 'maybe' }, says: /tls: maybe is neither/ },
  ])('refuses $name', ({ args = [], env, files, says }) => {
    lay(files);
    expect(() => connection(args, env)).toThrow(says);
  });

  test.each(['--tls-ca-cert-files', '--tls-server-name'])('%s alone asks for no TLS', (flag) => { expect(connection([flag, 'x', '--server', 'a:1']).address).toBe('a:1'); });
});

describe('TLS', () => {
  test('certificates of both sides, a CA that is unknown, whoever the server is', async () => {
    const ca = new TestCa(folder);
    const served = servedOf(new Observer({ nodeName: 'node1', version: '0.1.0' }));
    const client = ca.sign('client', 'client');
    const serving = await serveHubble(served, { socketPath: join(folder, 'x.sock'), listen: { address: '127.0.0.1:0', tls: ca.sign('server', 'the.server') }, log: () => undefined });
    const address = `tls://127.0.0.1:${serving.port}`;
    const identity = ['--tls-client-cert-file', client.certificate, '--tls-client-key-file', client.key];
    const ask = async (...args: string[]): Promise<string> => withClient(connection(['--server', address, '--timeout', '1s', ...args]), async (one) => (await one.serverStatus()).version!);
    try {
      expect(await ask('--tls-ca-cert-files', ca.certificate, '--tls-server-name', 'the.server', ...identity)).toBe('0.1.0');
      expect(await ask('--tls-allow-insecure', ...identity)).toBe('0.1.0');
      expect(await withClient(connection(['--timeout', '1s'], { HUBBLE_SERVER: address.replace('tls://', ''), HUBBLE_TLS: 'true', HUBBLE_TLS_CA_CERT_FILES: ca.certificate, HUBBLE_TLS_CLIENT_CERT_FILE: client.certificate, HUBBLE_TLS_CLIENT_KEY_FILE: client.key }),
        async (one) => one.isHealthy())).toBe(true);
      for (const args of [['--tls-ca-cert-files', ca.certificate], identity, ['--tls-ca-cert-files', ca.certificate, '--tls-server-name', 'another', ...identity]]) {
        await expect(ask(...args)).rejects.toThrow(/no answer from|went away/);
      }
    } finally {
      serving.close();
    }
  });

  test('user and password come as a header', async () => {
    const ca = new TestCa(folder);
    const files = ca.sign('server', 'localhost');
    const credentials = grpc.ServerCredentials.createSsl(readFileSync(files.ca), [{ cert_chain: readFileSync(files.certificate), private_key: readFileSync(files.key) }], true);
    const server = new grpc.Server({ interceptors: [(_, call) => new grpc.ServerInterceptingCall(call, { start: (next) => { next({ onReceiveMetadata: (metadata, go) => { seen.push(...metadata.get('authorization').map(String)); go(metadata); } }); } })] });
    const seen: string[] = [];
    server.addService({ ServerStatus: observerService.ServerStatus }, { ServerStatus: (_: unknown, done: (error: null, response: object) => void) => { done(null, {}); } });
    const port = await new Promise<number>((resolve, reject) => { server.bindAsync('127.0.0.1:0', credentials, (error, bound) => { if (error) reject(error); else resolve(bound); }); });
    const client = ca.sign('client', 'client');
    try {
      await withClient(connection(['--server', `127.0.0.1:${port}`, '--tls', '--tls-ca-cert-files', ca.certificate, '--tls-client-cert-file', client.certificate, '--tls-client-key-file', client.key, '--basic-auth-username', 'me', '--basic-auth-password', 'pä:ss']),
        async (one) => one.serverStatus());
      expect(seen).toEqual([`Basic ${Buffer.from('me:pä:ss').toString('base64')}`]);
    } finally {
      server.forceShutdown();
    }
  });
});
