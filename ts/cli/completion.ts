import {Argument, type Command, type Option} from 'commander';
import {print} from './output.ts';

/** What completion needs to know about an option. */
interface CompletedOption {
  /** "--checkpoint" and, if there is one, "-c". */
  names: string[];
  description: string;
  takesValue: boolean;
  /** Empty if any value is allowed. */
  choices: readonly string[];
}

interface CompletedCommand {
  name: string;
  description: string;
  options: CompletedOption[];
  /** Allowed values of the first argument; empty for files. */
  choices: readonly string[];
}

const shells: Record<string, (program: CompletedCommand, commands: readonly CompletedCommand[]) => string> = {
  bash,
  zsh,
  fish,
};

const examples = `
Examples:
  $ repvgg completion bash > repvgg.bash
  $ repvgg completion zsh > _repvgg`;

export function addCompletion(program: Command): void {
  program
    .command('completion')
    .description('print a script that completes commands and options in a shell')
    .addArgument(new Argument('<shell>', 'the shell').choices(Object.keys(shells)))
    .addHelpText('after', examples)
    .action((shell: string) => print(completionScript(program, shell)));
}

/** A shell script that contains the commands and options, so that completion does not run the program. */
export function completionScript(program: Command, shell: string): string {
  return shells[shell]!(describe(program), program.commands.map(describe));
}

function describe(command: Command): CompletedCommand {
  const options = command.createHelp().visibleOptions(command);
  return {
    name: command.name(),
    description: command.description(),
    options: options.map(describeOption),
    choices: command.registeredArguments[0]?.argChoices ?? [],
  };
}

function describeOption({long, short, description, required, optional, argChoices}: Option): CompletedOption {
  return {
    names: [long, short].filter(name => name !== undefined),
    description,
    takesValue: required || optional,
    choices: argChoices ?? [],
  };
}

const namesOf = (options: readonly CompletedOption[]): string =>
  options.flatMap(({names}) => names).join(' ');

function bash(program: CompletedCommand, commands: readonly CompletedCommand[]): string {
  const words = (list: string): string => `COMPREPLY=($(compgen -W '${list}' -- "$cur"))`;
  const values = ({names, choices}: CompletedOption): string =>
    `        ${names.join('|')}) ${choices.length > 0 ? words(choices.join(' ')) : ':'}; return ;;`;
  const branch = ({name, options, choices}: CompletedCommand): string[] => [
    `    ${name})`,
    '      case $prev in',
    ...options.filter(({takesValue}) => takesValue).map(values),
    '      esac',
    `      [[ $cur == -* ]] && ${words(namesOf(options))}`,
    ...(choices.length > 0 ? [`      [[ $cur != -* ]] && ${words(choices.join(' '))}`] : []),
    '      ;;',
  ];
  return [
    '# Completes repvgg in bash: source this file, or put it into ~/.local/share/bash-completion/completions/repvgg',
    '_repvgg() {',
    // biome-ignore lint/suspicious/noTemplateCurlyInString: it is bash's
    '  local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} command= word',
    // bash splits "--form=train" into three words.
    '  [[ $cur == = ]] && cur=',
    // biome-ignore lint/suspicious/noTemplateCurlyInString: it is bash's
    '  [[ $prev == = ]] && prev=${COMP_WORDS[COMP_CWORD-2]}',
    // biome-ignore lint/suspicious/noTemplateCurlyInString: it is bash's
    '  for word in "${COMP_WORDS[@]:1:COMP_CWORD-1}"; do',
    '    [[ $word != -* ]] && { command=$word; break; }',
    '  done',
    '  COMPREPLY=()',
    '  case $command in',
    `    '') ${words([...commands.map(({name}) => name), namesOf(program.options)].join(' '))} ;;`,
    ...commands.flatMap(branch),
    '  esac',
    '}',
    '# Falls back to file names.',
    'complete -o bashdefault -o default -F _repvgg repvgg',
  ].join('\n');
}

function zsh(program: CompletedCommand, commands: readonly CompletedCommand[]): string {
  const quoted = (text: string): string => text.replace(/[[\]:\\]/g, '\\$&').replaceAll("'", "'\\''");
  const value = ({takesValue, choices}: CompletedOption): string => {
    if (!takesValue) return '';
    return choices.length > 0 ? `:value:(${choices.join(' ')})` : ':value:_files';
  };
  const specification = (option: CompletedOption): string => {
    const names =
      option.names.length > 1 ? `'(${option.names.join(' ')})'{${option.names.join(',')}}` : option.names[0];
    return `        ${names}'[${quoted(option.description)}]${value(option)}'`;
  };
  const branch = ({name, options, choices}: CompletedCommand): string[] => [
    `    ${name})`,
    '      _arguments \\',
    ...options.map(option => `${specification(option)} \\`),
    choices.length > 0 ? `        '1:argument:(${choices.join(' ')})'` : "        '*:file:_files'",
    '      ;;',
  ];
  return [
    '#compdef repvgg',
    "# Completes repvgg in zsh: put this file, under the name _repvgg, into a folder of zsh's $fpath.",
    '_repvgg() {',
    '  local -a commands',
    '  commands=(',
    ...commands.map(({name, description}) => `    '${name}:${quoted(description)}'`),
    '  )',
    '  if (( CURRENT == 2 )); then',
    "    _describe 'command' commands",
    `    compadd -- ${namesOf(program.options)}`,
    '    return',
    '  fi',
    // biome-ignore lint/suspicious/noTemplateCurlyInString: it is zsh's
    '  local command=${words[2]}',
    '  shift words',
    '  (( CURRENT-- ))',
    '  case $command in',
    ...commands.flatMap(branch),
    '  esac',
    '}',
    'if [[ $funcstack[1] == _repvgg ]]; then _repvgg "$@"; else compdef _repvgg repvgg; fi',
  ].join('\n');
}

function fish(program: CompletedCommand, commands: readonly CompletedCommand[]): string {
  const quote = (text: string): string => `'${text.replace(/['\\]/g, '\\$&')}'`;
  const option = (condition: string, {names, description, takesValue, choices}: CompletedOption): string =>
    [
      `complete -c repvgg -n ${quote(condition)}`,
      ...names.map(name => (name.startsWith('--') ? `-l ${name.slice(2)}` : `-s ${name.slice(1)}`)),
      takesValue && choices.length === 0 ? '-rF' : '',
      choices.length > 0 ? `-xa ${quote(choices.join(' '))}` : '',
      `-d ${quote(description)}`,
    ]
      .filter(Boolean)
      .join(' ');
  return [
    '# Completes repvgg in fish: put this file into ~/.config/fish/completions/repvgg.fish',
    'complete -c repvgg -n __fish_use_subcommand -f',
    ...program.options.map(one => option('__fish_use_subcommand', one)),
    ...commands.flatMap(({name, description, options, choices}) => {
      const condition = `__fish_seen_subcommand_from ${name}`;
      return [
        `complete -c repvgg -n __fish_use_subcommand -a ${name} -d ${quote(description)}`,
        ...(choices.length > 0
          ? [`complete -c repvgg -n ${quote(condition)} -xa ${quote(choices.join(' '))}`]
          : []),
        ...options.map(one => option(condition, one)),
      ];
    }),
  ].join('\n');
}
