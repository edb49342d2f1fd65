import {RepVGGError} from '../errors.ts';
import {isImageName, mostImageBytes, tooManyBytes} from '../images/encoded_image.ts';
import {clause, fromJson} from '../support/plain_text.ts';
import {gunzip, isGzip} from './gunzip.ts';
import type {SourceFile} from './options.ts';
import {peek, readStream} from './read_stream.ts';
import type {Records, SourceRecord, UnreadableRecord} from './record.ts';
import {checkNoColumns} from './table.ts';
import {type Member, readMembers} from './tar_members.ts';

const maxTextBytes = 2 ** 20;

/** Images of one sample that are buffered until its label is known; a larger sample is split. */
const maxSampleBytes = 2 ** 26;

/**
 * The images of a tar, plain or gzipped. As in WebDataset, consecutive members whose names are equal up to the first dot form one sample:
 * the label of its images comes from "cls", their fields from "json".
 */
export async function* readTar(file: SourceFile): Records {
  checkNoColumns(file.path, 'a tar', [file.idColumn, file.labelColumn]);
  const imageColumn = file.imageColumn?.toLowerCase();
  let sample: Sample | undefined;
  try {
    for await (const member of readMembers(await open(file))) {
      const {name, kind} = member;
      const [key, extension] = splitName(name);
      if (sample && (sample.key !== key || sample.bytes > maxSampleBytes)) {
        yield* sample.records();
        sample = undefined;
      }
      const isImage = imageColumn === undefined ? isImageName(name) : extension === imageColumn;
      const isText = extension === 'cls' || extension === 'json';
      if (kind === 'directory' || !(isImage || isText)) continue;
      sample ??= new Sample(key);
      const id = `${file.path}/${name}`;
      if (isImage) await sample.addImage(member, id);
      else await sample.addText(member, extension, id);
    }
  } catch (cause) {
    if (sample) yield* sample.records();
    file.signal?.throwIfAborted();
    if (cause instanceof RepVGGError) throw cause;
    const reason = clause((cause as Error).message);
    throw new RepVGGError('ERR_SOURCE', `Cannot read source ${file.path} as tar: ${reason}.`, {cause});
  }
  if (sample) yield* sample.records();
}

async function open(file: SourceFile): Promise<AsyncIterable<Uint8Array>> {
  const {head, stream} = await peek(readStream(file), 2);
  return isGzip(head) ? gunzip(stream) : stream;
}

/** "a/b.c.jpg" has the key "a/b" and the extension "c.jpg". */
function splitName(name: string): [key: string, extension: string] {
  const base = name.lastIndexOf('/') + 1;
  const dot = name.indexOf('.', base + 1);
  return dot < 0 ? [name, ''] : [name.slice(0, dot), name.slice(dot + 1).toLowerCase()];
}

/** The bytes of a member, which may be something other than a file: tar stores further hard links to a file as links. */
async function bytesOf({kind, target, read}: Member): Promise<Uint8Array> {
  if (kind === 'link') throw new Error(`it is a link to ${target}`);
  if (kind === 'sparse') throw new Error('it is stored as a sparse file: create the tar without --sparse');
  if (kind !== 'file') throw new Error('it is not a file');
  return read();
}

class Sample {
  readonly key: string;
  /** Approximate memory use. */
  bytes = 0;
  readonly #images: (Pick<SourceRecord, 'id' | 'image'> | UnreadableRecord)[] = [];
  #label: string | undefined;
  #fields: Record<string, unknown> | undefined;
  /** Set if its label or fields cannot be read. */
  #damaged: UnreadableRecord | undefined;

  constructor(key: string) {
    this.key = key;
  }

  async addImage(member: Member, id: string): Promise<void> {
    this.bytes += member.size + 1024;
    try {
      if (member.size > mostImageBytes) throw tooManyBytes(`read ${id}`);
      this.#images.push({id, image: await bytesOf(member)});
    } catch (cause) {
      // If the tar itself is cut short, reading the next member fails too, which ends the source.
      this.#images.push(unreadable(id, cause));
    }
  }

  async addText(member: Member, extension: string, id: string): Promise<void> {
    try {
      if (member.size > maxTextBytes) throw new Error(`it is larger than ${maxTextBytes / 2 ** 20} MiB`);
      const text = Buffer.from(await bytesOf(member)).toString('utf8');
      if (extension === 'cls') this.#label = text.trim();
      else this.#fields = fromJson(text) as Record<string, unknown>;
    } catch (cause) {
      this.#damaged = unreadable(id, cause);
    }
  }

  /** Empty if the sample has no image and nothing in it is damaged. */
  *records(): Generator<SourceRecord | UnreadableRecord> {
    if (this.#damaged && this.#images.length === 0) yield this.#damaged;
    for (const record of this.#images) {
      if ('error' in record) yield record;
      else if (this.#damaged) yield {...this.#damaged, id: record.id};
      else {
        yield {
          ...record,
          ...(this.#label !== undefined && {label: this.#label}),
          ...(this.#fields && {fields: this.#fields}),
        };
      }
    }
  }
}

function unreadable(id: string, cause: unknown): UnreadableRecord {
  if (cause instanceof RepVGGError) return {id, error: cause};
  const reason = clause((cause as Error).message);
  return {id, error: new RepVGGError('ERR_SOURCE', `Cannot read ${id}: ${reason}.`, {cause})};
}
