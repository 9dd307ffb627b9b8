// npm run verify:bpf [-- --kernel 6.1]: what the programs cost the verifier of each kernel; fails beyond the budget or where one is refused.
import { mkdirSync } from 'node:fs';
import { release } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { buildBpf, objectPath } from '../../bpf/build.ts';
import { budget, verify, type Refusal, type VerifyRow } from '../../bpf/verify.ts';
import { ConfigError, messageOf } from '../../agent/errors.ts';
import { chooseAccelerator } from './accelerator.ts';
import { kernels, type Kernel } from './kernels.ts';
import { checkout, guestCheckout } from './machine.ts';
import { run } from './qemu.ts';
import { overBudget, table } from './verify-table.ts';

const timeoutMs = 5 * 60_000;
const mark = 'VERIFY ';
const script = `#!/bin/sh
cd ${guestCheckout} && node_modules/.bin/node --input-type=module -e "
import { verify } from './bpf/verify.ts';
console.log('${mark}' + JSON.stringify(verify('build/weir.o')));"
`;

async function verifyIn(kernel: Kernel): Promise<VerifyRow[] | Refusal> {
  const folder = join(checkout, 'build/vm', `verify-${kernel.name}`);
  mkdirSync(folder, { recursive: true });
  let found: VerifyRow[] | Refusal = { refused: 'the VM said nothing' };
  const end = await run({ kernel, accelerator: await chooseAccelerator(kernel), folder, command: { script, shell: false } }, timeoutMs, (line) => {
    if (line.startsWith(mark)) found = JSON.parse(line.slice(mark.length)) as VerifyRow[] | Refusal;
  });
  return end.failure === undefined ? found : { refused: `${end.failure}\n${end.tail.join('\n')}` };
}

function verifyHere(): VerifyRow[] | Refusal {
  buildBpf();
  return verify(objectPath);
}

async function main(): Promise<void> {
  const { values } = parseArgs({ options: { kernel: { type: 'string', multiple: true } } });
  const names = values.kernel ?? ['host', ...kernels.map((kernel) => kernel.name)];
  const tables: (readonly [string, readonly VerifyRow[]])[] = [];
  for (const name of names) {
    const kernel = kernels.find((one) => one.name === name);
    if (kernel === undefined && name !== 'host') throw new ConfigError(`no kernel ${name}`, `there are: host, ${kernels.map((one) => one.name).join(', ')}`);
    const found = kernel === undefined ? verifyHere() : await verifyIn(kernel);
    if ('refused' in found) {
      process.stderr.write(`${name}: ${found.refused}\n`);
      process.exitCode = 1;
    } else {
      tables.push([kernel === undefined ? `host ${release()}` : kernel.name, found]);
      for (const row of overBudget(found)) {
        process.stderr.write(`${name}: ${row.program}: ${row.processed} instructions are more than ${budget}\n`);
        process.exitCode = 1;
      }
    }
  }
  process.stdout.write(`${table(tables)}\n`);
}

// A process that is told to go takes its VM with it.
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.once(signal, () => { process.exit(1); });
main().catch((error: unknown) => {
  process.stderr.write(`verify:bpf: ${messageOf(error)}\n${error instanceof ConfigError ? `  ${error.mend}\n` : ''}`);
  process.exitCode = 1;
});
