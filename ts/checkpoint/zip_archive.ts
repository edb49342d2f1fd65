import {promisify} from 'node:util';
import {inflateRaw} from 'node:zlib';
import {type Entry, fromRandomAccessReaderPromise, RandomAccessReader, type ZipFile} from 'yauzl';
import {RepVGGError} from '../errors.ts';
import {checksum} from './checksum.ts';
import {type ByteSource, type CheckpointFile, type FileRange, printable} from './file.ts';

/** The largest RepVGG with optimizer state and averages has some 3,000 entries. */
const maxEntries = 10_000;
/** Bytes of an entry's name, extra fields and comment: names are like "archive/data/123", and ZIP64 takes 28 bytes. */
const maxEntryBytes = 2048;
/** Bytes of a local file header before the name, by the ZIP specification (APPNOTE 4.3.7). */
const localHeaderBytes = 30;
const stored = 0;
const deflated = 8;
/** Weights deflate to about 90%. An entry that inflates a hundredfold, to more than this, is a zip bomb. */
const bombBytes = 2 ** 20;
const bombFactor = 100;
/** The highest compression ratio of deflate: a match of 258 bytes takes at least two bits. */
const mostDeflated = 1032;

const inflate = promisify(inflateRaw);

/** A zip file of checkpoint tensors, read entry by entry. */
export class ZipArchive {
  readonly #file: CheckpointFile;
  readonly #zip: ZipFile;
  /** Entries by name, each with the position of the next entry, where its data must end. */
  readonly #entries: ReadonlyMap<string, {entry: Entry; end: number}>;
  /** Data positions of the entries requested so far. */
  readonly #starts = new Map<Entry, Promise<number>>();

  private constructor(
    file: CheckpointFile,
    zip: ZipFile,
    entries: ReadonlyMap<string, {entry: Entry; end: number}>,
  ) {
    this.#file = file;
    this.#zip = zip;
    this.#entries = entries;
  }

  /**
   * Reads and checks the central directory.
   *
   * @throws {RepVGGError} ERR_CHECKPOINT_TRUNCATED, ERR_CHECKPOINT_CORRUPT or ERR_CHECKPOINT_UNSUPPORTED
   */
  static async open(file: CheckpointFile): Promise<ZipArchive> {
    try {
      const zip = await fromRandomAccessReaderPromise(new FileReader(file), file.size, {autoClose: false});
      if (zip.entryCount > maxEntries) {
        throw file.fail(
          'ERR_CHECKPOINT_UNSUPPORTED',
          `its zip directory lists more than ${maxEntries} entries`,
        );
      }
      const entries: Entry[] = [];
      for await (const entry of zip.eachEntry()) {
        checkEntry(entry, file);
        entries.push(entry);
      }
      return new ZipArchive(file, zip, index(entries, file));
    } catch (error) {
      throw zipError(error, file);
    }
  }

  get names(): string[] {
    return [...this.#entries.keys()];
  }

  has(name: string): boolean {
    return this.#entries.has(name);
  }

  /** The uncompressed size of an entry in bytes. */
  size(name: string): number {
    return this.#get(name).entry.uncompressedSize;
  }

  /** Reads a whole entry of at most `limit` bytes. */
  async read(name: string, limit: number): Promise<Buffer> {
    const size = this.size(name);
    if (size > limit) {
      const problem = `zip entry ${printable(name)} has ${size} bytes, where at most ${limit} are expected`;
      throw this.#file.fail('ERR_CHECKPOINT_UNSUPPORTED', problem);
    }
    const bytes = Buffer.allocUnsafe(size);
    await this.readInto(name, bytes, 0);
    return bytes;
  }

  /** The uncompressed bytes of an entry. */
  source(name: string): ByteSource {
    return {
      readInto: (target, offset) => this.readInto(name, target, offset),
      locate: this.isStored(name) ? (offset, length) => this.#locate(name, offset, length) : undefined,
    };
  }

  /**
   * Fills `target` with the bytes from an offset within an entry on. The checksum is verified if the whole entry is read.
   *
   * @throws {RepVGGError} ERR_CHECKPOINT_CORRUPT, ERR_CHECKPOINT_TRUNCATED or ERR_FILE_READ
   */
  async readInto(name: string, target: Uint8Array, offset: number): Promise<void> {
    if (this.isStored(name)) {
      const {file, position, verify} = await this.#locate(name, offset, target.length);
      await file.readInto(target, position, `zip entry ${printable(name)}`);
      verify?.(await checksum(target));
      return;
    }
    const {entry} = this.#get(name);
    const bytes = await this.#inflate(entry, await this.#dataStart(name));
    if (hasChecksum(entry)) this.#compare(entry, await checksum(bytes));
    target.set(bytes.subarray(offset, offset + target.length));
  }

  /** Whether an entry is uncompressed, so that parts of it can be read. */
  isStored(name: string): boolean {
    return this.#get(name).entry.compressionMethod === stored;
  }

  #get(name: string): {entry: Entry; end: number} {
    const found = this.#entries.get(name);
    if (found) return found;
    throw this.#file.fail('ERR_CHECKPOINT_CORRUPT', `its zip has no entry ${printable(name)}`);
  }

  async #locate(name: string, offset: number, length: number): Promise<FileRange> {
    const {entry} = this.#get(name);
    const isWhole = offset === 0 && length === entry.uncompressedSize;
    const verify = (crc32: number): void => this.#compare(entry, crc32);
    return {
      file: this.#file,
      position: (await this.#dataStart(name)) + offset,
      verify: isWhole && hasChecksum(entry) ? verify : undefined,
    };
  }

  #dataStart(name: string): Promise<number> {
    const {entry, end} = this.#get(name);
    const start = this.#starts.get(entry) ?? this.#findData(entry, end);
    this.#starts.set(entry, start);
    return start;
  }

  async #findData(entry: Entry, end: number): Promise<number> {
    // The central directory does not state the length of the local header, which PyTorch pads to align the data.
    const {fileDataStart} = await this.#zip
      .readLocalFileHeaderPromise(entry, {minimal: true})
      .catch((error: unknown) => Promise.reject(zipError(error, this.#file)));
    if (fileDataStart + entry.compressedSize > end) throw overlap(entry, this.#file);
    return fileDataStart;
  }

  async #inflate(entry: Entry, start: number): Promise<Buffer> {
    const name = printable(entry.fileName);
    const compressed = await this.#file.read(start, entry.compressedSize, `zip entry ${name}`);
    const maxOutputLength = Math.max(1, entry.uncompressedSize);
    const bytes = await inflate(compressed, {maxOutputLength}).catch((cause: unknown) => {
      throw this.#file.fail('ERR_CHECKPOINT_CORRUPT', `zip entry ${name} cannot be inflated`, cause);
    });
    if (bytes.length === entry.uncompressedSize) return bytes;
    const problem = `zip entry ${name} inflates to ${bytes.length} bytes, not ${entry.uncompressedSize}`;
    throw this.#file.fail('ERR_CHECKPOINT_CORRUPT', problem);
  }

  #compare(entry: Entry, crc: number): void {
    if (crc === entry.crc32) return;
    const problem = `zip entry ${printable(entry.fileName)} does not match its checksum`;
    throw this.#file.fail('ERR_CHECKPOINT_CORRUPT', problem);
  }
}

/** Lets yauzl read from a CheckpointFile, and reports offsets beyond the end of the file. */
class FileReader extends RandomAccessReader {
  readonly #file: CheckpointFile;
  constructor(file: CheckpointFile) {
    super();
    this.#file = file;
  }

  override read(
    buffer: Buffer,
    offset: number,
    length: number,
    position: number,
    callback: (error: Error | null, bytesRead?: number) => void,
  ): void {
    this.#read(buffer.subarray(offset, offset + length), position).then(
      () => callback(null, length),
      callback,
    );
  }

  async #read(target: Buffer, position: number): Promise<void> {
    const {size} = this.#file;
    if (position + target.length > size) {
      throw this.#file.fail(
        'ERR_CHECKPOINT_CORRUPT',
        `its zip directory points to byte ${position} of ${size}`,
      );
    }
    await this.#file.readInto(target, position, 'the zip directory');
  }
}

function checkEntry(entry: Entry, file: CheckpointFile): void {
  const {fileName, compressionMethod, compressedSize, uncompressedSize} = entry;
  if (entry.fileNameLength + entry.extraFieldLength + entry.fileCommentLength > maxEntryBytes) {
    const problem = `zip entry ${printable(fileName)} takes more than ${maxEntryBytes} bytes in the directory`;
    throw file.fail('ERR_CHECKPOINT_UNSUPPORTED', problem);
  }
  const name = printable(fileName);
  if (entry.isEncrypted()) throw file.fail('ERR_CHECKPOINT_UNSUPPORTED', `zip entry ${name} is encrypted`);
  if (compressionMethod !== stored && compressionMethod !== deflated) {
    const problem = `zip entry ${name} is compressed by method ${compressionMethod}, where only deflate is supported`;
    throw file.fail('ERR_CHECKPOINT_UNSUPPORTED', problem);
  }
  const factor = uncompressedSize > bombBytes ? bombFactor : mostDeflated;
  if (uncompressedSize > factor * compressedSize) {
    const problem = `zip entry ${name} claims to grow from ${compressedSize} to ${uncompressedSize} bytes`;
    throw file.fail('ERR_CHECKPOINT_CORRUPT', problem);
  }
}

/** torch.serialization.set_crc32_options(False) writes zeros instead of checksums. */
function hasChecksum({crc32}: Entry): boolean {
  return crc32 !== 0;
}

/** Indexes entries by name, and refuses duplicate names and overlapping entries. */
function index(entries: Entry[], file: CheckpointFile): Map<string, {entry: Entry; end: number}> {
  const byName = new Map<string, {entry: Entry; end: number}>();
  entries.sort((a, b) => a.relativeOffsetOfLocalHeader - b.relativeOffsetOfLocalHeader);
  for (const [i, entry] of entries.entries()) {
    const end = entries[i + 1]?.relativeOffsetOfLocalHeader ?? file.size;
    const {relativeOffsetOfLocalHeader: start, fileNameLength, compressedSize} = entry;
    if (start + localHeaderBytes + fileNameLength + compressedSize > end) throw overlap(entry, file);
    if (byName.has(entry.fileName)) {
      const problem = `its zip has two entries named ${printable(entry.fileName)}`;
      throw file.fail('ERR_CHECKPOINT_CORRUPT', problem);
    }
    byName.set(entry.fileName, {entry, end});
  }
  return byName;
}

function overlap(entry: Entry, file: CheckpointFile): RepVGGError {
  const problem = `zip entry ${printable(entry.fileName)} of ${entry.compressedSize} bytes`;
  return file.fail(
    'ERR_CHECKPOINT_CORRUPT',
    `${problem} reaches into what follows it or past the file's end`,
  );
}

/** yauzl's errors have no codes. A missing end record means a truncated file, since the directory is at the end of a zip. */
function zipError(error: unknown, file: CheckpointFile): RepVGGError {
  if (error instanceof RepVGGError) return error;
  const {message} = error as Error;
  if (message.startsWith('End of central directory record signature not found')) {
    const problem = 'it begins as a zip but its end, with the directory, is missing';
    return file.fail('ERR_CHECKPOINT_TRUNCATED', problem, error);
  }
  if (message.startsWith('Invalid comment length')) {
    const problem = 'bytes follow the end of its zip';
    return file.fail('ERR_CHECKPOINT_CORRUPT', problem, error);
  }
  return file.fail('ERR_CHECKPOINT_CORRUPT', `its zip directory is damaged (${printable(message)})`, error);
}
