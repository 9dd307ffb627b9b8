// weir completion bash: a script that completes verbs and flags, made of the commands as they are.
import { Argument, type Command } from 'commander';

/** What may follow a command: its verbs with their aliases, its flags. */
interface Place { readonly path: string; readonly words: readonly string[] }

export function register(program: Command, name = './weir'): void {
  program.command('completion').description('a script for the shell that completes verbs and flags').addArgument(new Argument('<shell>').choices(['bash']))
    .addHelpText('after', `\nExample:\n  source <(${name} completion bash)`)
    .action((_: string, __: object, command: Command) => { process.stdout.write(bashScript(rootOf(command))); });
}

function rootOf(command: Command): Command { return command.parent === null ? command : rootOf(command.parent); }

/** Hidden ones are for machines. */
const visible = (command: Command): Command[] => command.createHelp().visibleCommands(command).filter((one) => one.name() !== 'help');

function placesOf(command: Command, path: string): Place[] {
  const verbs = visible(command);
  const flags = command.options.filter(({ hidden }) => !hidden).flatMap(({ short, long }) => [short, long].filter((flag) => flag != null));
  return [{ path, words: [...verbs.flatMap((one) => [one.name(), ...one.aliases()]), ...flags, '--help'] },
    ...verbs.flatMap((one) => [one.name(), ...one.aliases()].flatMap((name) => placesOf(one, `${path} ${name}`)))];
}

export function bashScript(program: Command): string {
  const places = placesOf(program, '');
  return `# bash completion for weir
_weir() {
  local path='' word current=\${COMP_WORDS[COMP_CWORD]} at
  declare -A words=(
${places.map(({ path, words }) => `    ['_${path}']='${words.join(' ')}'`).join('\n')}
  )
  for ((at = 1; at < COMP_CWORD; at += 1)); do
    word=\${COMP_WORDS[at]}
    [[ $word == -* ]] && continue
    [[ -n \${words["_$path $word"]+there} ]] && path="$path $word"
  done
  COMPREPLY=($(compgen -W "\${words["_$path"]}" -- "$current"))
  [[ \${#COMPREPLY[@]} -eq 0 && $current != -* ]] && COMPREPLY=($(compgen -f -- "$current"))
}
complete -F _weir weir ./weir
`;
}
