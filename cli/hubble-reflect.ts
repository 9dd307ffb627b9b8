// weir hubble reflect: which services a server has and of what messages they are made, as it says itself, in JSON.
import type { Command } from 'commander';
import descriptor from 'protobufjs/ext/descriptor.js';
import { ConfigError } from '../agent/errors.ts';
import { escapeJson } from '../hubble/print/escape.ts';
import type { ReflectionRequest, ReflectionResponse } from '../hubble/types.ts';
import { connectionFlags, connectionOf } from './connection.ts';
import { withClient } from './hubble-client.ts';

export function register(hubble: Command): void {
  connectionFlags(hubble.command('reflect').description('the services of a server, or the file of a message, as the server describes them'))
    .option('--symbol <name>', 'the file in which it stands, with those that it needs').option('--file <name>', 'this file, with those that it needs')
    .addHelpText('after', '\nExample:\n  sudo ./weir hubble reflect\n  sudo ./weir hubble reflect --symbol observer.Observer')
    .action(async ({ symbol, file }: { symbol?: string; file?: string }, command: Command) => {
      if (symbol !== undefined && file !== undefined) throw new ConfigError('--symbol and --file cannot be combined', 'leave one of them out');
      const request: ReflectionRequest = symbol !== undefined ? { file_containing_symbol: symbol } : file !== undefined ? { file_by_filename: file } : { list_services: '' };
      const response = await withClient(connectionOf(command), async (client) => client.reflect(request));
      process.stdout.write(`${escapeJson(JSON.stringify(describe(response, symbol ?? file ?? ''), null, 2))}\n`);
    });
}

function describe({ list_services_response: listed, file_descriptor_response: files, error_response: error }: ReflectionResponse, asked: string): object {
  if (listed != null) return { service: (listed.service ?? []).map(({ name }) => ({ name })) };
  if (files != null) return (files.file_descriptor_proto ?? []).map((bytes) => descriptor.FileDescriptorProto.decode(bytes).toJSON());
  throw new ConfigError(`reflect ${asked}: ${error?.error_message ?? 'no answer'}`, 'ask without flags for the services');
}
