import {createTarDecoder, type ParsedTarEntry} from 'modern-tar';
import {RepVGGError} from '../errors.ts';
import {isImageName} from './folder.ts';
import {peek, readStream} from './read_stream.ts';
import type {SourceFile, SourceRecord, UnreadableRecord} from './source.ts';

const maxImageBytes = 2 ** 29;
const maxTextBytes = 2 ** 20;

/**
 * The images of a tar, plain or gzipped. Members that differ only in what follows the first dot of their name and that come
 * one after the other are one sample, as in WebDataset: its first image, its label from "cls" and its fields from "json".
 */
export async function* readTar(file: SourceFile): AsyncGenerator<SourceRecord | UnreadableRecord> {
  let sample: Sample | undefined;
  try {
    for await (const {header, body} of await decode(file)) {
      const {name, type, size} = header;
      const [key, extension] = splitName(name);
      if (sample && sample.key !== key) {
        yield* sample.records();
        sample = undefined;
      }
      if (type === 'file' && (isImageName(name) || extension === 'cls' || extension === 'json')) {
        sample ??= new Sample(key);
        await sample.add({name, size, body}, extension, `${file.path}/${name}`);
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
  #record: SourceRecord | UnreadableRecord | undefined;
  #label: string | undefined;
  #fields: Record<string, unknown> | undefined;

  constructor(key: string) {
    this.key = key;
  }

  async add(member: Member, extension: string, id: string): Promise<void> {
    try {
      if (isImageName(member.name)) {
        this.#record ??= {id, image: await bytesOf(member, maxImageBytes)};
        return;
      }
      const text = Buffer.from(await bytesOf(member, maxTextBytes)).toString('utf8');
      if (extension === 'cls') this.#label = text.trim();
      else this.#fields = JSON.parse(text) as Record<string, unknown>;
    } catch (cause) {
      // Where it is the tar that ends, the next member cannot be read either, which ends the source.
      const reason = (cause as Error).message.replace(/\.$/, '');
      const error =
        cause instanceof RepVGGError
          ? cause
          : new RepVGGError('ERR_SOURCE', `Cannot read ${id}: ${reason}.`, {cause});
      this.#record = {id, error};
    }
  }

  /** None if the sample has no image. */
  *records(): Generator<SourceRecord | UnreadableRecord> {
    if (!this.#record) return;
    if ('error' in this.#record) yield this.#record;
    else {
      yield {
        ...this.#record,
        ...(this.#label !== undefined && {label: this.#label}),
        ...(this.#fields && {fields: this.#fields}),
      };
    }
  }
}
