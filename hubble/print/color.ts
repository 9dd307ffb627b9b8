// Colours of the compact output; without colour every function gives its text back.
import { verdict as verdicts } from '../types.ts';

type Paint = (text: string) => string;

export interface Colors {
  readonly host: Paint;
  readonly port: Paint;
  readonly identity: Paint;
  readonly verdict: (verdict: number | undefined) => Paint;
}

const plain: Paint = (text) => text;
const ansi = (code: number): Paint => (text) => (text === '' ? '' : `\u001b[${code}m${text}\u001b[0m`);
const [red, green, yellow, magenta, cyan] = [31, 32, 33, 35, 36].map(ansi) as [Paint, Paint, Paint, Paint, Paint];

export const noColors: Colors = { host: plain, port: plain, identity: plain, verdict: () => plain };

export const ansiColors: Colors = {
  host: cyan, port: yellow, identity: magenta,
  verdict: (verdict) => {
    switch (verdict) {
      case verdicts.forwarded: case verdicts.redirected: return green;
      case verdicts.dropped: case verdicts.error: return red;
      case verdicts.audit: return yellow;
      default: return plain;
    }
  },
};
