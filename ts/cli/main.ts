#!/usr/bin/env node
import {inspect} from 'node:util';
import {Command, CommanderError} from 'commander';
import {RepVGGError, type RepVGGErrorCode} from '../errors.ts';
import {addBench} from './bench.ts';
import {addClassify} from './classify.ts';
import {addConvert} from './convert.ts';
import {addDemo} from './demo.ts';
import {addDoctor} from './doctor.ts';
import {addInfo} from './info.ts';
import {exitCode} from './options.ts';
import {addVerify} from './verify.ts';
import {version} from './version.ts';

/** Mistakes in what was typed rather than in a file or the machine. */
const usageCodes: readonly RepVGGErrorCode[] = ['ERR_INVALID_ARGUMENT', 'ERR_ARCHITECTURE_UNKNOWN'];

const program = new Command('repvgg')
  .description('Score images with RepVGG networks: fused checkpoints, a native engine.')
  .version(version)
  .option('--debug', 'print the stack of an error too (or set REPVGG_DEBUG=1)')
  .configureHelp({showGlobalOptions: true})
  .configureOutput({outputError: () => {}}) // Printed below, like every other error.
  .exitOverride()
  .addHelpText(
    'after',
    '\nExit codes: 0 success, 1 some images failed or differ, 2 wrong usage, 3 any other error.',
  );
// What loads sharp or the addon is imported only when a command runs it: doctor has to work where they do not load.
for (const add of [addDemo, addClassify, addConvert, addVerify, addInfo, addDoctor, addBench]) add(program);

process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  // The reader has gone, as with `| head`: nothing is wrong, and there is nobody to tell.
  if (error.code === 'EPIPE') process.exit(0);
  fail(
    new RepVGGError('ERR_FILE_WRITE', `Cannot write to standard output: ${error.message}.`, {cause: error}),
  );
  process.exit();
});

try {
  await program.parseAsync();
} catch (error) {
  if (error instanceof CommanderError) failUsage(error);
  else fail(error);
}

/** Prints an error as one line with its code, and sets the exit code. */
function fail(error: unknown): void {
  const {message, code, name} = error as Error & {code?: string};
  const known = error instanceof RepVGGError;
  report(
    known ? message : `Unexpected error: ${message}; "repvgg doctor" and --debug tell more.`,
    code ?? name,
  );
  if (program.opts<{debug?: true}>().debug || process.env.REPVGG_DEBUG === '1') console.error(inspect(error));
  process.exitCode = known && usageCodes.includes(error.code) ? exitCode.usage : exitCode.failure;
}

/** "error: unknown option '--crp'\n(Did you mean --crop?)" is how commander says it. */
function failUsage({message, exitCode: code}: CommanderError): void {
  if (code === 0) return; // --help or --version, printed already
  process.exitCode = exitCode.usage;
  if (message === '(outputHelp)') return; // no command at all: its help is printed already
  const sentence = message.replace(/^error: /, '');
  report(sentence[0]!.toUpperCase() + sentence.slice(1), 'ERR_INVALID_ARGUMENT');
}

function report(message: string, code: string): void {
  console.error(`repvgg: ${message.replace(/\s+/g, ' ')} (${code})`);
}
