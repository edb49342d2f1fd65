import {createTarDecoder, type ParsedTarEntry} from 'modern-tar';
import {isImageName, mostImageBytes} from '../encoded_image.ts';
import {RepVGGError} from '../errors.ts';
import {fromJson} from '../plain_text.ts';
import type {SourceFile} from './options.ts';
import {peek, readStream} from './read_stream.ts';
import type {Records, SourceRecord, UnreadableRecord} from './record.ts';

const maxTextBytes = 2 ** 20;

/** Of the images of one sample that are held until its label is known; a sample of more is cut in two. */
const maxSampleBytes = 2 ** 26;

/**
 * The images of a tar, plain or gzipped. Members that differ only in what follows the first dot of their name and that come
 * one after the other are one sample, as in WebDataset: its images have their label from "cls" and their fields from "json".
 */
export async function* readTar(file: SourceFile): Records {
  const imageColumn = file.imageColumn?.toLowerCase();
  let sample: Sample | undefined;
  try {
    for await (const {header, body} of await decode(file)) {
      const {name, type, size, linkname} = header;
      const [key, extension] = splitName(name);
      if (sample && (sample.key !== key || sample.bytes > maxSampleBytes)) {
        yield* sample.records();
        sample = undefined;
      }
      const isImage = imageColumn === undefined ? isImageName(name) : extension === imageColumn;
      const isFile = type === 'file';
      if (type !== 'directory' && (isImage || (isFile && (extension === 'cls' || extension === 'json')))) {
        sample ??= new Sample(key);
        const id = `${file.path}/${name}`;
        if (!isFile) sample.addOther(id, linkname ? `it is a link to ${linkname}` : 'it is no file');
        else if (isImage) await sample.addImage({name, size, body}, id);
        else await sample.addText({name, size, body}, extension, id);
      }
      // The next member comes after what is left of this one. To cancel() it would be shorter, but modern-tar 0.8.6 then
      // waits forever where the following one is in the same chunk and long.
      for await (const _ of body);
    }
  } catch (cause) {
    if (sample) yield* sample.records();
    file.signal?.throwIfAborted();
    if (cause instanceof RepVGGError) throw cause;
    const reason = (cause as Error).message.replace(/\.$/, '');
    throw new RepVGGError('ERR_SOURCE', `Cannot read source ${file.path} as tar: ${reason}.`, {cause});
  }
  if (sample) yield* sample.records();
}

/** Members have to be read or cancelled in turn. */
async function decode(file: SourceFile): Promise<ReadableStream<ParsedTarEntry>> {
  const {head, stream} = await peek(readStream(file), 2);
  const bytes = ReadableStream.from(stream);
  const isGzip = head[0] === 0x1f && head[1] === 0x8b;
  return (isGzip ? bytes.pipeThrough(new DecompressionStream('gzip')) : bytes).pipeThrough(
    createTarDecoder({strict: true}),
  );
}

/** "a/b.c.jpg" has the key "a/b" and the extension "c.jpg". */
function splitName(name: string): [key: string, extension: string] {
  const base = name.lastIndexOf('/') + 1;
  const dot = name.indexOf('.', base + 1);
  return dot < 0 ? [name, ''] : [name.slice(0, dot), name.slice(dot + 1).toLowerCase()];
}

interface Member {
  name: string;
  size: number;
  body: ReadableStream<Uint8Array>;
}

/** The bytes of a member. */
async function bytesOf({name, size, body}: Member, limit: number): Promise<Uint8Array> {
  if (size > limit) {
    throw new RepVGGError('ERR_SOURCE', `Cannot read ${name}: it has more than ${limit / 2 ** 20} MiB.`);
  }
  const bytes = new Uint8Array(size);
  let done = 0;
  for await (const chunk of body) {
    bytes.set(chunk, done);
    done += chunk.length;
  }
  return bytes;
}

class Sample {
  readonly key: string;
  /** About what it takes in memory. */
  bytes = 0;
  readonly #images: (Pick<SourceRecord, 'id' | 'image'> | UnreadableRecord)[] = [];
  #label: string | undefined;
  #fields: Record<string, unknown> | undefined;
  /** Its label or fields cannot be read. */
  #damaged: UnreadableRecord | undefined;

  constructor(key: string) {
    this.key = key;
  }

  async addImage(member: Member, id: string): Promise<void> {
    this.bytes += member.size + 1024;
    try {
      this.#images.push({id, image: await bytesOf(member, mostImageBytes)});
    } catch (cause) {
      // Where it is the tar that ends, the next member cannot be read either, which ends the source.
      this.#images.push(unreadable(id, cause));
    }
  }

  /** What is called like an image and is no file, such as the second of two that tar found to be the same. */
  addOther(id: string, problem: string): void {
    this.#images.push(unreadable(id, new Error(problem)));
  }

  async addText(member: Member, extension: string, id: string): Promise<void> {
    try {
      const text = Buffer.from(await bytesOf(member, maxTextBytes)).toString('utf8');
      if (extension === 'cls') this.#label = text.trim();
      else this.#fields = fromJson(text) as Record<string, unknown>;
    } catch (cause) {
      this.#damaged = unreadable(id, cause);
    }
  }

  /** None if the sample has no image and nothing in it is damaged. */
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
  const reason = (cause as Error).message.replace(/\.$/, '');
  return {id, error: new RepVGGError('ERR_SOURCE', `Cannot read ${id}: ${reason}.`, {cause})};
}
