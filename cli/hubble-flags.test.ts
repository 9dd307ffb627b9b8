// What `up` makes of the flags for Hubble, alone and for each of several nodes.
import { resolve } from 'node:path';
import { describe, expect, test } from '@jest/globals';
import { Command } from 'commander';
import { hubbleArguments, hubbleFlags, hubbleOf, sharedWords, type HubbleWords } from './hubble-flags.ts';

const wordsOf = (...args: string[]): HubbleWords => hubbleFlags(new Command().exitOverride()).parse(args, { from: 'user' }).opts();
const tls = ['--hubble-tls-cert', 'certs/{node}.crt', '--hubble-tls-key', 'certs/{node}.key', '--hubble-tls-client-ca', '/ca.crt'];

describe('of several nodes', () => {
  test.each<{ name: string; args: string[]; node2: string[] }>([
    { name: 'nothing', args: [], node2: [] },
    { name: 'each its own certificate', args: ['--hubble-listen', ':4244', ...tls],
      node2: ['--hubble-listen', ':4244', '--hubble-tls-cert', resolve('certs/node2.crt'), '--hubble-tls-key', resolve('certs/node2.key'), '--hubble-tls-client-ca', '/ca.crt'] },
    { name: 'each its own files', args: ['--hubble-export', '/etc/{node}/{node}.yaml'], node2: ['--hubble-export', '/etc/node2/node2.yaml'] },
    { name: 'metrics with contexts', args: ['--metrics-listen', ':9965', '--hubble-metrics', 'drop:sourceContext=pod|ip,flow tcp'], node2: ['--metrics-listen', ':9965', '--hubble-metrics', 'drop:sourceContext=pod|ip flow tcp'] },
    { name: 'what is not kept of requests', args: ['--hubble-redact-http-headers-deny', 'X-A, x-b', '--hubble-redact-http-urlquery', '--hubble-redact-http-userinfo=false'],
      node2: ['--hubble-redact-http-userinfo', 'false', '--hubble-redact-http-headers-deny', 'X-A,x-b', '--hubble-redact-http-urlquery'] },
    { name: 'metrics of HTTP and DNS', args: ['--metrics-listen', ':9965', '--hubble-metrics', 'dns:query;ignoreAAAA,httpV2:exemplars=true;labelsContext=source_ip,destination_ip flow'],
      node2: ['--metrics-listen', ':9965', '--hubble-metrics', 'dns:query;ignoreAAAA httpV2:exemplars=true;labelsContext=source_ip,destination_ip flow'] },
    { name: 'plain on loopback', args: ['--hubble-listen', '127.0.0.1:4244', '--hubble-insecure'], node2: ['--hubble-listen', '127.0.0.1:4244', '--hubble-insecure'] },
  ])('$name', ({ args, node2 }) => {
    const shared = sharedWords(wordsOf(...args));
    const taken = hubbleArguments(shared, 'node2');
    expect(taken).toEqual(node2);
    expect(hubbleOf(wordsOf(...taken))).toEqual(hubbleOf(wordsOf(...node2)));
    // They stand in the cluster's record, which a later `up` is compared with.
    expect(JSON.parse(JSON.stringify(shared))).toEqual(shared);
  });

  test('one file for all is refused', () => { expect(() => sharedWords(wordsOf('--hubble-export', 'x.yaml'))).toThrow(/--hubble-export x.yaml: every node writes files of its own/); });
});

test('what is not kept of requests', () => {
  expect(hubbleOf(wordsOf('--hubble-redact-http-headers-allow', 'accept,host', '--hubble-redact-http-urlquery'))).toEqual({ redact: { urlQuery: true, headersAllow: ['accept', 'host'] } });
});

describe('refused', () => {
  test.each<{ name: string; args: string[]; says: RegExp }>([
    { name: 'certificates without an address', args: tls, says: /are about --hubble-listen/ },
    { name: 'insecure with certificates', args: ['--hubble-listen', ':1', '--hubble-insecure', ...tls], says: /cannot be combined/ },
    { name: 'headers kept and not', args: ['--hubble-redact-http-headers-deny', 'a', '--hubble-redact-http-headers-allow', 'b'], says: /cannot be combined/ },
    { name: 'neither true nor false', args: ['--hubble-redact-http-userinfo', 'maybe'], says: /expected true or false/ },
    { name: 'metrics without an address', args: ['--hubble-metrics', 'flow'], says: /--hubble-metrics is about --metrics-listen/ },
  ])('$name', ({ args, says }) => {
    expect(() => hubbleOf(wordsOf(...args))).toThrow(says);
    expect(() => sharedWords(wordsOf(...args))).toThrow(says);
  });
});
