// The proxy's process: DNS by TCP for workloads whose names are ruled. It knows no policy: the kernel judges, and learns, by the program that is open
// as descriptor 3. So it needs no agent to go on.
import { rmSync } from 'node:fs';
import { createServer } from 'node:http';
import { kernelJudge } from './kernel.ts';
import { DnsServer, listenOn } from './serve.ts';
import { dial } from './sockets.ts';

const program = 3;
/** Asked by the keeper whether this process still goes round; the agent reads the counts. */
const adminSocket = '/run/weir/own/admin.sock';

async function main([port, downstream, egressDone]: readonly number[]): Promise<void> {
  if (port === undefined || downstream === undefined || egressDone === undefined) throw new Error('usage: main.ts PORT DOWNSTREAM-MARK EGRESS-MARK');
  const server = new DnsServer({ judge: kernelJudge(program), dial: ({ client, server: to }) => dial(client.address, to, egressDone) });
  rmSync(adminSocket, { force: true });
  createServer((_, response) => { response.setHeader('connection', 'close').end(JSON.stringify(server.counts)); }).listen(adminSocket);
  await listenOn(server, port, downstream);
  process.stdout.write(`listens on port ${port}\n`);
  process.once('SIGTERM', () => { process.exit(0); });
}

await main(process.argv.slice(2).map(Number));
