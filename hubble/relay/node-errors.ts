// Errors of nodes as node_status responses: those that say the same within a while are told as one, with all the nodes' names.
import { timestampOfMs } from '../time.ts';
import { nodeState, type GetFlowsResponse } from '../types.ts';

export class NodeErrors {
  readonly #tell: (response: GetFlowsResponse) => void;
  readonly #windowMs: number;
  #message = '';
  #names = new Set<string>();
  #timer: NodeJS.Timeout | undefined;

  constructor(tell: (response: GetFlowsResponse) => void, windowMs: number) {
    this.#tell = tell;
    this.#windowMs = windowMs;
  }

  add(name: string, message: string): void {
    if (this.#names.size > 0 && message !== this.#message) this.flush();
    this.#message = message;
    this.#names.add(name);
    this.#timer ??= setTimeout(() => { this.flush(); }, this.#windowMs);
  }

  flush(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    if (this.#names.size === 0) return;
    const names = [...this.#names];
    this.#names = new Set();
    this.#tell(statusOf(nodeState.error, names, this.#message));
  }

  stop(): void { clearTimeout(this.#timer); }
}

export const statusOf = (state: number, names: readonly string[], message = ''): GetFlowsResponse =>
  ({ node_status: { state_change: state, node_names: [...names], ...(message !== '' && { message }) }, time: timestampOfMs(Date.now()) });
