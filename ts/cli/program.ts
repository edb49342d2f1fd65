import {Command} from 'commander';
import {addBench} from './bench.ts';
import {addClassify} from './classify.ts';
import {addCompletion} from './completion.ts';
import {addConvert} from './convert.ts';
import {addDemo} from './demo.ts';
import {addDoctor} from './doctor.ts';
import {addEval} from './eval.ts';
import {addExport} from './export.ts';
import {addFetch} from './fetch.ts';
import {addInfer} from './infer.ts';
import {addInfo} from './info.ts';
import {addScore} from './score.ts';
import {addVerify} from './verify.ts';
import {version} from './version.ts';

/** All commands, in the order of the help. They import most of what they need when they run: doctor must work without sharp and the addon, and all should start soon. */
const commands: readonly ((program: Command) => void)[] = [
  addDemo,
  addClassify,
  addInfer,
  addEval,
  addScore,
  addConvert,
  addExport,
  addFetch,
  addVerify,
  addInfo,
  addDoctor,
  addBench,
  addCompletion,
];

export function createProgram(): Command {
  const program = new Command('repvgg')
    .description('Score images with RepVGG networks, fused and run by a native engine.')
    .version(version)
    .option('--debug', 'also print the stack trace of an error (or set REPVGG_DEBUG=1)')
    .configureHelp({showGlobalOptions: true})
    .configureOutput({outputError: () => {}}) // main.ts prints all errors in one format.
    .exitOverride()
    .addHelpText(
      'after',
      '\nExamples:\n' +
        '  $ repvgg demo\n' +
        '  $ repvgg score photos --checkpoint RepVGG-A0-train.pth --output labels.parquet --resume\n' +
        '\nExit codes: 0 success, 1 some images failed or differ, 2 wrong usage, 3 any other error (a file, a checkpoint, the machine).',
    );
  for (const add of commands) add(program);
  return program;
}
