// Runs the commands of the transcripts in docs/cli.md and updates their output. A test fails if they are out of date. Needs an addon, with
// or without CUDA, and tsx: use "npm run docs".
import {existsSync} from 'node:fs';
import {readFile, writeFile} from 'node:fs/promises';
import {openStage, page, readTranscripts, updated} from '../test/cli/transcripts.ts';

if (!existsSync(new URL('../build/Release/repvgg.node', import.meta.url))) {
  console.error('There is no addon to run the commands with: build it with "npm run build:native".');
  process.exit(1);
}

let text = await readFile(page, 'utf8');
const stage = await openStage();
const written = [];
for (const transcript of readTranscripts(text)) {
  const {entries, isMachines} = transcript;
  const outputs = await stage.run(entries.map(({command}) => command));
  const lines = entries.flatMap((entry, i) => [
    `$ ${entry.command}`,
    ...updated(entry, outputs[i], isMachines),
  ]);
  written.push({
    transcript,
    block: [`\`\`\`console${isMachines ? ' machine' : ''}`, ...lines, '```'].join('\n'),
  });
}
await stage[Symbol.asyncDispose]();
for (const {transcript, block} of written.reverse())
  text = text.slice(0, transcript.start) + block + text.slice(transcript.end);
await writeFile(page, text);
