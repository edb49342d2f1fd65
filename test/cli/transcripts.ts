/** The transcripts of docs/cli.md: what is typed there is run, and what is printed there has to be what comes out. */
import {spawn} from 'node:child_process';
import {copyFile, mkdir, mkdtemp, readFile, rm, symlink} from 'node:fs/promises';
import {createRequire} from 'node:module';
import {tmpdir} from 'node:os';
import {basename, join} from 'node:path';
import {fileURLToPath} from 'node:url';
import {isDeepStrictEqual} from 'node:util';
import {architectureByName} from '../../ts/architecture.ts';
import {writePyTorch} from '../../ts/checkpoint/write_pytorch.ts';
import {convertCheckpoint} from '../../ts/convert.ts';
import {stateDict} from '../checkpoints.ts';
import {photo, photos} from '../fixtures.ts';
import {startHub} from '../hub/server.ts';
import {finish} from './run.ts';

const root = fileURLToPath(new URL('../..', import.meta.url));
const {bin} = createRequire(import.meta.url)('../../package.json') as {bin: {repvgg: string}};
export const page: string = join(root, 'docs', 'cli.md');

/** A command and what it prints. A line "..." stands for any number of others. */
export interface Entry {
  command: string;
  output: string[];
}

/** A fenced block of the page. Of one marked "machine", which differs from machine to machine, only the first words count. */
export interface Transcript {
  heading: string;
  start: number;
  end: number;
  isMachines: boolean;
  entries: Entry[];
}

const fence = /^```console( machine)?\n(.*?)^```$/gms;

export function readTranscripts(text: string): Transcript[] {
  return Array.from(text.matchAll(fence), match => {
    const entries: Entry[] = [];
    for (const line of match[2]!.split('\n').slice(0, -1)) {
      if (line.startsWith('$ ')) entries.push({command: line.slice(2), output: []});
      else entries.at(-1)!.output.push(line);
    }
    const heading =
      text
        .slice(0, match.index)
        .match(/^## .*$/gm)
        ?.at(-1) ?? '';
    const [start, end] = [match.index, match.index + match[0].length];
    return {heading: heading.slice(3), start, end, isMachines: match[1] !== undefined, entries};
  });
}

/** A folder with what the transcripts speak of, where they can be run. */
export async function openStage(): Promise<{run(commands: string[]): Promise<string[][]>} & AsyncDisposable> {
  const folder = await mkdtemp(join(tmpdir(), 'repvgg-transcripts-'));
  await symlink(join(root, 'assets'), join(folder, 'assets'));
  await copyFile(photo('chelsea.jpg'), join(folder, 'cat.jpg'));
  await copyFile(photo('rocket.jpg'), join(folder, 'dog.jpg'));
  await mkdir(join(folder, 'photos'));
  for (const path of photos) await copyFile(path, join(folder, 'photos', basename(path)));
  await writeRandomA0(join(folder, 'RepVGG-A0-train.pth'));
  await convertCheckpoint('digits', join(folder, 'digits-deploy.pth'));
  const weights = join(folder, 'model.safetensors');
  await convertCheckpoint('digits', weights, {form: 'train'});
  const files = {'model.safetensors': await readFile(weights)};
  await rm(weights);
  const hub = await startHub({'timm/repvgg_a0.rvgg_in1k': {files}});
  const env = {
    ...process.env,
    HF_ENDPOINT: hub.endpoint,
    HF_HOME: join(folder, '.cache', 'huggingface'),
    HF_TOKEN: '',
    CUDA_VISIBLE_DEVICES: '', // The page shows a CPU.
  };
  return {
    async run(commands) {
      const script = [
        `repvgg() { '${process.execPath}' '${join(root, bin.repvgg)}' "$@"; }`,
        'status=0',
        ...commands.map(command => `printf '\\001'; (exit $status); ${command}\nstatus=$?`),
      ];
      const {stdout} = await finish(
        spawn('sh', ['-c', `exec 2>&1\n${script.join('\n')}`], {cwd: folder, env}),
      );
      const outputs = anonymous(stdout, folder).split('\u0001').slice(1);
      return outputs.map(output => (output === '' ? [] : output.replace(/\n$/, '').split('\n')));
    },
    async [Symbol.asyncDispose]() {
      await hub.close();
      await rm(folder, {recursive: true});
    },
  };
}

/** A full-size network that nobody has trained. */
export async function writeRandomA0(path: string): Promise<void> {
  const network = stateDict(architectureByName('RepVGG-A0'), 'official', 'train')
    .filter(({dtype}) => dtype === 'f32')
    .map(({name, shape, read}) => ({
      name,
      shape,
      values: async () => (await read()) as Float32Array,
    }));
  await writePyTorch(path, network);
}

/** Without the places and the kernel of the machine it was run on. */
function anonymous(text: string, folder: string): string {
  return text
    .replaceAll(folder, '/home/you')
    .replaceAll(root.replace(/\/$/, ''), '/home/you/node_modules/repvgg')
    .replace(/(Linux [\d.]+)-[\w.-]+/, '$1');
}

/** What is to be written for an output: what is there, unless it says something else. */
export function updated(entry: Entry, output: readonly string[], isMachines: boolean): string[] {
  const written = elide(output, entry.output);
  const isSame = isDeepStrictEqual(comparable(written, isMachines), comparable(entry.output, isMachines));
  return isSame ? entry.output : written;
}

/** As much of an output as is there, where that leaves lines out. */
export function elide(output: readonly string[], before: readonly string[]): string[] {
  const at = before.findIndex(isEllipsis);
  if (at < 0) return [...output];
  const after = before.length - at - 1;
  return [...output.slice(0, at), before[at]!, ...(after > 0 ? output.slice(-after) : [])];
}

/** Output with what may differ in another run taken out: times, speeds, rounding, and of "machine" all but first words. */
export function comparable(output: readonly string[], isMachines: boolean): string[] {
  if (isMachines) return output.filter(line => !isEllipsis(line)).map(line => line.trim().split(/\s+/)[0]!);
  return output
    .filter(line => !/^deploy +bf16 /.test(line)) // Not every processor has it.
    .map(line =>
      line
        .replace(/Time [^L]*Loss \S+ \(\S+\)/, 'Time # Loss #')
        .replace(/^(train|deploy) .*$/, row => row.replace(/[\d.]+$/, '#'))
        .replace(/[\d,.]+ images\/s/, '# images/s')
        .replace(/\d\.\de-\d+/g, '#')
        .replace(/(\d\.\d{4})\d+/g, '$1')
        .replace(/\s+/g, ' ')
        .trim(),
    );
}

export function isEllipsis(line: string): boolean {
  return line.trim() === '...';
}
