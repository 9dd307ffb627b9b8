// What of Hubble an agent offers beyond its own socket; all of it only when asked for.
import type { Listen } from './listen.ts';

export interface HubbleOptions {
  /** The observer on TCP, for relays on other machines. */
  readonly listen?: Listen;
  /** Configuration of the exporter. */
  readonly exportFile?: string;
  readonly metrics?: {
    readonly address: string;
    /** As Hubble's `--metrics` has them; absent: all, without contexts. */
    readonly wanted?: readonly string[];
  };
}
