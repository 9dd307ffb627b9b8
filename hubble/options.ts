// What of Hubble an agent offers beyond its own socket; all of it only when asked for.
import type { Listen } from './listen.ts';
import type { RedactOptions } from './redact.ts';

export interface HubbleOptions {
  /** The observer on TCP, for relays on other machines. */
  readonly listen?: Listen;
  /** Configuration of the exporter. */
  readonly exportFile?: string;
  /** What of HTTP requests is not kept. */
  readonly redact?: RedactOptions;
  readonly metrics?: {
    readonly address: string;
    /** As Hubble's `--metrics` has them; absent: all, without contexts. */
    readonly wanted?: readonly string[];
  };
}
