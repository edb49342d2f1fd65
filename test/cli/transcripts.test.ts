import {readFile} from 'node:fs/promises';
import test from 'ava';
import {createProgram} from '../../ts/cli/program.ts';
import {comparable, elide, openStage, page, readTranscripts} from './transcripts.ts';

test('docs/cli.md shows what commands print ("npm run docs" writes it)', async t => {
  t.timeout(300_000);
  const transcripts = readTranscripts(await readFile(page, 'utf8'));
  const typed = transcripts.flatMap(({entries}) => entries.map(({command}) => command));
  for (const {name} of createProgram().commands.map(command => ({name: command.name()})))
    t.true(
      typed.some(command => command.startsWith(`repvgg ${name}`)),
      `a transcript of ${name}`,
    );
  await using stage = await openStage();
  for (const {heading, entries, isMachines} of transcripts) {
    const outputs = await stage.run(entries.map(({command}) => command));
    for (const [i, {command, output}] of entries.entries()) {
      const actual = elide(outputs[i]!, output);
      t.deepEqual(comparable(output, isMachines), comparable(actual, isMachines), `${heading}: ${command}`);
    }
  }
});

test('what may differ in another run does not count, and nothing else', t => {
  const line = 'Test: [0/3]\tTime  0.164 ( 0.164)\tLoss 4.9680e-02 (4.9680e-02)\tAcc@1 100.00 (100.00)';
  t.deepEqual(comparable([line], false), comparable([line.replaceAll('0.164', '9.999')], false));
  t.notDeepEqual(comparable([line], false), comparable([line.replace('100.00', ' 99.00')], false));
  t.deepEqual(comparable(['cpu   Intel'], true), comparable(['cpu  AMD'], true));
  t.deepEqual(elide(['a', 'b', 'c', 'd'], ['x', '...', 'y']), ['a', '...', 'd']);
  t.deepEqual(elide(['a', 'b'], ['x']), ['a', 'b']);
});
