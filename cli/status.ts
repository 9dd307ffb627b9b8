// status, check, explain, down: how it goes, what this machine can do, why a packet was dropped, and the end of it all.
import type { Command } from 'commander';
import { callAgent } from '../agent/api/client.ts';
import { ConfigError } from '../agent/errors.ts';
import { chosenInstance, instanceOption, listing, outputOption, type Common } from './options.ts';
import { printObject, printRows, printable, type Row } from './print.ts';

interface Explained { readonly text: string; readonly yaml: string }

export function register(program: Command): void {
  listing(program.command('status').description('how the agent is doing')).addHelpText('after', '\nExample:\n  ./weir status').action(async (options: Common) => {
    printObject(await callAgent<Row>(chosenInstance(options), 'status'), options.output);
  });

  program.command('check').description('what weir needs of this machine, and what mends it').addOption(outputOption()).addHelpText('after', '\nExample:\n  sudo ./weir check').action(async (options: Common) => {
    const [{ checkMachine, checkPrograms }, { objectPath }] = await Promise.all([import('../agent/node/check.ts'), import('../bpf/build.ts')]);
    const machine = checkMachine(objectPath);
    const rows = machine.every((row) => row.ok || !row.required) ? [...machine, ...checkPrograms(objectPath)] : machine;
    const told = rows.map((row) => ({ ...row, state: row.ok ? 'ok' : row.required ? 'MISSING' : 'without', mend: row.ok ? '' : row.mend }));
    printRows(told, ['name', 'state', 'found', 'mend'], options.output);
    if (rows.some((row) => row.required && !row.ok)) process.exitCode = 1;
  });

  program.command('explain').description('why a flow was dropped or passed, and what would change it')
    .option('--last-drop', 'the last flow that was dropped (the default)').option('--uuid <uuid>', 'the flow with this uuid, as ./weir observe -o json prints it')
    .option('--yaml', 'only the policy that would allow it').addOption(instanceOption()).addOption(outputOption())
    .addHelpText('after', '\nExample:\n  ./weir explain --last-drop\n  ./weir explain --last-drop --yaml > examples/shop/allow.yaml')
    .action(async (options: Common & { uuid?: string; yaml?: boolean }) => {
      const told = await callAgent<Explained & Row>(chosenInstance(options), 'explain', options.uuid === undefined ? {} : { uuid: options.uuid });
      if (options.output !== 'table') printObject(told, options.output);
      else if (options.yaml !== true) process.stdout.write(`${printable(told.text)}\n`);
      else if (told.yaml === '') throw new ConfigError('no policy would allow this flow', 'see ./weir explain for the rules that stand in its way');
      else process.stdout.write(told.yaml);
    });
}
