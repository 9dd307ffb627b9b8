// Stands in for a shared cluster folder between two machines (`--two-nodes`): each sends its own node's file and the identities it knows, again and
// again, over one TCP connection; the other writes what came as an agent would have. Numbers agree as long as no two label sets begin at one.
import { existsSync, linkSync, mkdirSync, readFileSync, readdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { createConnection, createServer, type Socket } from 'node:net';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { identitiesFolder, nodesFolder, toldPath } from '../../agent/node/cluster.ts';

interface Parcel { readonly told: string | undefined; readonly identities: Readonly<Record<string, string>>; /** How far the other one is. */ readonly step: number }

const port = 7_001;
const everyMs = 500;

export class Courier {
  readonly #folder: string;
  readonly #own: string;
  readonly #other: string;
  readonly #timer: NodeJS.Timeout;
  #socket: Socket | undefined;
  /** What both wait for at the same time. */
  step = 0;
  otherStep = -1;

  /** `peer`: the address to dial; absent: waits for the other one. */
  constructor(folder: string, own: string, other: string, peer?: string) {
    this.#folder = folder;
    this.#own = own;
    this.#other = other;
    for (const one of [nodesFolder(folder), identitiesFolder(folder)]) mkdirSync(one, { recursive: true, mode: 0o700 });
    if (peer === undefined) createServer((socket) => { this.#take(socket); }).listen(port, '::');
    this.#timer = setInterval(() => {
      if (this.#socket === undefined && peer !== undefined) this.#take(createConnection({ host: peer, port }));
      this.#send();
    }, everyMs);
  }

  #take(socket: Socket): void {
    this.#socket = socket;
    const lost = (): void => { socket.destroy(); };
    socket.on('error', lost).on('close', () => { if (this.#socket === socket) this.#socket = undefined; });
    createInterface({ input: socket }).on('error', lost).on('line', (line) => { this.#unpack(JSON.parse(line) as Parcel); });
  }

  #send(): void {
    const path = toldPath(this.#folder, this.#own);
    const folder = identitiesFolder(this.#folder);
    const numbers = readdirSync(folder).filter((name) => /^\d+$/.test(name));
    const parcel: Parcel = {
      told: existsSync(path) ? readFileSync(path, 'utf8') : undefined, identities: Object.fromEntries(numbers.map((name) => [name, readFileSync(join(folder, name), 'utf8')])), step: this.step,
    };
    if (this.#socket?.readyState === 'open') this.#socket.write(`${JSON.stringify(parcel)}\n`);
  }

  #unpack({ told, identities, step }: Parcel): void {
    this.otherStep = step;
    const path = toldPath(this.#folder, this.#other);
    const draft = join(this.#folder, 'courier.draft');
    if (told === undefined) rmSync(path, { force: true });
    else {
      writeFileSync(draft, told, { mode: 0o600 });
      renameSync(draft, path);
    }
    for (const [number, labels] of Object.entries(identities)) {
      const to = join(identitiesFolder(this.#folder), number);
      if (existsSync(to)) continue;
      writeFileSync(draft, labels, { mode: 0o600 });
      linkSync(draft, to);
      rmSync(draft);
    }
  }

  stop(): void {
    clearInterval(this.#timer);
    this.#socket?.destroy();
  }
}
