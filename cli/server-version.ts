// Whether a server is newer than this command line: it says its version in a header of every answer.
import type grpc from '@grpc/grpc-js';
import { version } from '../agent/version.ts';

/** The release of Hubble whose API this command line knows; servers of weir itself, below 1.0, are compared with its own version. */
const hubbleVersion = '1.19';

const headers = { 'hubble-server-version': 'server', 'hubble-relay-version': 'relay' } as const;

/** Undefined: it is not, or says nothing that can be compared. */
export function newerThanThis(metadata: Pick<grpc.Metadata, 'get'>, own = version): string | undefined {
  for (const [header, what] of Object.entries(headers)) {
    const given = metadata.get(header).at(-1);
    const theirs = given === undefined ? undefined : numbersOf(String(given));
    if (theirs === undefined) continue;
    const mine = numbersOf(theirs[0] === 0 ? own : hubbleVersion)!;
    if (mine[0] < theirs[0] || (mine[0] === theirs[0] && mine[1] < theirs[1])) {
      return `warning: the ${what} is version ${String(given)}, newer than the ${mine.join('.')} that this command line knows: what is new there is not shown`;
    }
  }
  return undefined;
}

function numbersOf(text: string): readonly [number, number] | undefined {
  const [, major, minor] = /^v?(\d{1,6})\.(\d{1,6})(?:[.+-]|$)/.exec(text) ?? [];
  return major === undefined ? undefined : [Number(major), Number(minor)];
}
