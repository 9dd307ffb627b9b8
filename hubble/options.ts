// What of Hubble an agent offers beyond its own socket; all of it only when asked for.
import type { Listen } from './listen.ts';

export interface HubbleOptions {
  /** The observer on TCP, for relays on other machines. */
  readonly listen?: Listen;
}
