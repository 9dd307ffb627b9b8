// The name server's process, in the pod kube-dns: it knows a folder that an agent writes, and needs no agent to go on.
import { BlockList } from 'node:net';
import { answerTo } from './answer.ts';
import { Feed } from './feed.ts';
import { familyOf } from './reverse.ts';
import type { Settings } from './rows.ts';
import { NameServer } from './serve.ts';
import { dnsPort, Upstream } from './upstream.ts';
import { Zone } from './zone.ts';

const tellMs = 60_000;

const log = (line: string): void => { process.stdout.write(`${line}\n`); };

function rangesOf({ ranges }: Settings): BlockList {
  const list = new BlockList();
  for (const range of ranges) {
    const [address, bits] = range.split('/') as [string, string];
    list.addSubnet(address, Number(bits), `ipv${familyOf(address)}`);
  }
  return list;
}

async function main([folder, port = String(dnsPort), address = '::']: readonly string[]): Promise<void> {
  if (folder === undefined) throw new Error('usage: main.ts FOLDER [PORT [ADDRESS]]');
  const upstream = new Upstream();
  let ranges = new BlockList();
  let zone: Zone | undefined;
  const settings = (given: Settings): void => {
    zone ??= new Zone(given.domain);
    ranges = rangesOf(given);
    upstream.use(given.upstreams);
  };
  // Rows before the settings would find no zone: the agent writes the settings first, and `look` reads again.
  const rows = (): Zone => {
    if (zone === undefined) throw new Error('no settings yet');
    return zone;
  };
  const feed = new Feed({ folder, set: (row) => { rows().set(row); }, drop: (key) => { rows().delete(key); }, settings, log });
  feed.look();
  let turn = 0;
  const server = new NameServer({
    port: Number(port), address, upstream,
    answer: ({ question }) => answerTo(rows(), question, turn += 1, (one, family) => ranges.check(one, `ipv${family}`)),
  });
  await server.listen();
  log(`answers on port ${server.port}: ${rows().size} names`);
  let told = '';
  setInterval(() => {
    const { failed, refused, crowded } = server.counts;
    const losses = `${failed} failed, ${refused} refused, ${crowded + upstream.crowded} without a place`;
    if (losses !== told) log(`${server.counts.queries} questions, ${server.counts.forwarded} forwarded: ${losses}`);
    told = losses;
  }, tellMs).unref();
  process.once('SIGTERM', () => { process.exit(0); });
}

await main(process.argv.slice(2));
