#!/usr/bin/env node
import {inspect} from 'node:util';
import {CommanderError} from 'commander';
import {RepVGGError, type RepVGGErrorCode} from '../errors.ts';
import {exitCode} from './options.ts';
import {oneLine} from './output.ts';
import {createProgram} from './program.ts';

/** Errors in the command line rather than in a file or the machine. */
const usageCodes: readonly RepVGGErrorCode[] = ['ERR_INVALID_ARGUMENT', 'ERR_ARCHITECTURE_UNKNOWN'];

const program = createProgram();

process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  // The reader has left, as with `| head`. This is not an error; an exit code already set, as by `bench --check`, is kept.
  if (error.code === 'EPIPE') process.exit();
  fail(
    new RepVGGError('ERR_FILE_WRITE', `Cannot write to standard output: ${error.message}.`, {cause: error}),
  );
  process.exit();
});

// The work goes on if nobody reads the messages.
process.stderr.on('error', () => {});

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
    known ? message : `Unexpected error: ${message}; use "repvgg doctor" and --debug for details.`,
    code ?? name,
  );
  if (program.opts<{debug?: true}>().debug || process.env.REPVGG_DEBUG === '1') console.error(inspect(error));
  process.exitCode = known && usageCodes.includes(error.code) ? exitCode.usage : exitCode.failure;
}

/** Prints an error of commander, such as "error: unknown option '--crp'\n(Did you mean --crop?)". */
function failUsage({message, exitCode: code}: CommanderError): void {
  if (code === 0) return; // --help or --version, already printed
  process.exitCode = exitCode.usage;
  if (message === '(outputHelp)') return; // no command: the help is already printed
  const sentence = message.replace(/^error: /, '');
  report(sentence[0]!.toUpperCase() + sentence.slice(1), 'ERR_INVALID_ARGUMENT');
}

function report(message: string, code: string): void {
  console.error(oneLine(`repvgg: ${message.replace(/\s+/g, ' ')} (${code})`));
}
