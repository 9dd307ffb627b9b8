// The command line: one file per verb, each registers itself. Exit codes: 0 done, 1 refused or failed, 2 wrong usage (of observe: 1, as Hubble's).
import { Command, CommanderError } from 'commander';
import { selectNode } from './node.ts';
import { version } from '../agent/version.ts';
import { printError } from './print.ts';
import { verbsOf } from './verbs.ts';

const program = new Command('weir')
  .description('identity, policy and visibility for workloads, enforced by the kernel')
  .version(version)
  .enablePositionalOptions()
  .option('--node <name>', 'the node that is meant, when one machine runs several (before the verb)')
  .exitOverride()
  .configureHelp({ sortSubcommands: true })
  .addHelpText('after', '\nExample:\n  sudo ./weir up examples/shop\n  sudo ./weir observe --verdict DROPPED --follow');

for (const { load } of verbsOf(process.argv.slice(2))) (await load()).register(program);

program.hook('preAction', (_, action) => { selectNode(action, program.opts<{ node?: string }>().node); });

/** Wrong usage of `observe`: it exits as that of Hubble. */
const asHubble = new WeakSet<CommanderError>();

/** Wrong usage reads as every other error does: what is wrong, then what to do. Subcommands do not inherit this. */
function strict(command: Command, path: string): void {
  command.exitOverride(command.name() === 'observe' ? (error) => { asHubble.add(error); throw error; } : undefined).showHelpAfterError(`  see ${path} --help`).configureOutput({
    outputError: (text, write) => { write(text.replace(/^error: /, 'weir: ').replace(/\n\(Did you mean (.*)\?\)/, '; did you mean $1?')); },
  });
  for (const sub of command.commands) strict(sub, `${path} ${sub.name()}`);
}
strict(program, './weir');

process.stdout.on('error', (error: NodeJS.ErrnoException) => { if (error.code === 'EPIPE') process.exit(0); else throw error; });

try {
  await program.parseAsync(process.argv);
} catch (error) {
  if (error instanceof CommanderError) {
    process.exitCode = error.exitCode === 0 ? 0 : asHubble.has(error) ? 1 : 2;
  } else {
    printError(error);
    process.exitCode = 1;
  }
}
