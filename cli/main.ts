// The command line: one file per verb, each registers itself. Exit codes: 0 done, 1 refused or failed, 2 wrong usage.
import { Command, CommanderError } from 'commander';
import { version } from '../agent/version.ts';
import { printError } from './print.ts';
import { register as registerList } from './list.ts';
import { register as registerObserve } from './observe.ts';
import { register as registerPolicy } from './policy.ts';
import { register as registerStatus } from './status.ts';
import { register as registerUp } from './up.ts';
import { register as registerWorkload } from './workload.ts';

const program = new Command('weir')
  .description('identity, policy and visibility for workloads, enforced by the kernel')
  .version(version)
  .enablePositionalOptions()
  .exitOverride()
  .configureHelp({ sortSubcommands: true })
  .addHelpText('after', '\nExample:\n  sudo ./weir up examples/shop\n  sudo ./weir observe --verdict DROPPED --follow');

for (const register of [registerUp, registerPolicy, registerStatus, registerList, registerObserve, registerWorkload]) register(program);

/** Subcommands inherit neither of these when a verb makes them itself. */
function strict(command: Command): void {
  command.exitOverride().showHelpAfterError('(try it with --help)');
  for (const sub of command.commands) strict(sub);
}
strict(program);

process.stdout.on('error', (error: NodeJS.ErrnoException) => { if (error.code === 'EPIPE') process.exit(0); else throw error; });

try {
  await program.parseAsync(process.argv);
} catch (error) {
  if (error instanceof CommanderError) {
    process.exitCode = error.exitCode === 0 ? 0 : 2;
  } else {
    printError(error);
    process.exitCode = 1;
  }
}
