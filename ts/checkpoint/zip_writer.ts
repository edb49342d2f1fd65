import type {FileHandle} from 'node:fs/promises';
import {append} from '../support/replace_file.ts';
import {checksum} from './checksum.ts';

/** PyTorch aligns tensors so that torch.load(mmap=True) can use them in place (`.storage_alignment` in newer files). */
const alignment = 64;
/** The id of PyTorch's padding among the extra fields of a local header. */
const paddingId = 0x4246;
/** 1980-01-01, the earliest date, so that equal weights result in equal files. */
const dosDate = 0x0021;
const utf8Names = 0x0800;
const version = 20;
/** Larger sizes and offsets would need ZIP64, which no RepVGG does. */
const maxBytes = 2 ** 32 - 2;

/**
 * Writes a zip of uncompressed entries with aligned data and checksums in the local headers, by APPNOTE 6.3. (yazl cannot
 * align data: its local headers have no extra fields.)
 */
export class ZipWriter {
  readonly #file: FileHandle;
  readonly #directory: Buffer[] = [];
  #position = 0;

  constructor(file: FileHandle) {
    this.#file = file;
  }

  async add(name: string, data: Uint8Array): Promise<void> {
    const nameBytes = Buffer.from(name);
    const start = this.#position;
    const unpadded = start + 30 + nameBytes.length + 4;
    const padding = (alignment - (unpadded % alignment)) % alignment;
    if (unpadded + padding + data.length > maxBytes) throw new RangeError('the file would exceed 4 GiB');

    const local = Buffer.alloc(30 + nameBytes.length + 4 + padding);
    local.writeUInt32LE(0x04034b50, 0);
    const common = local.subarray(4, 30);
    common.writeUInt16LE(version, 0);
    common.writeUInt16LE(utf8Names, 2);
    common.writeUInt16LE(dosDate, 8);
    common.writeUInt32LE(await checksum(data), 10);
    common.writeUInt32LE(data.length, 14);
    common.writeUInt32LE(data.length, 18);
    common.writeUInt16LE(nameBytes.length, 22);
    common.writeUInt16LE(4 + padding, 24);
    nameBytes.copy(local, 30);
    local.writeUInt16LE(paddingId, 30 + nameBytes.length);
    local.writeUInt16LE(padding, 32 + nameBytes.length);

    const central = Buffer.alloc(46 + nameBytes.length);
    central.writeUInt32LE(0x02014b50, 0);
    central.writeUInt16LE(version, 4);
    common.copy(central, 6);
    central.writeUInt16LE(0, 30);
    central.writeUInt32LE(start, 42);
    nameBytes.copy(central, 46);
    this.#directory.push(central);

    await this.#write(local);
    await this.#write(data);
  }

  async end(): Promise<void> {
    const start = this.#position;
    for (const central of this.#directory) await this.#write(central);
    const end = Buffer.alloc(22);
    end.writeUInt32LE(0x06054b50, 0);
    end.writeUInt16LE(this.#directory.length, 8);
    end.writeUInt16LE(this.#directory.length, 10);
    end.writeUInt32LE(this.#position - start, 12);
    end.writeUInt32LE(start, 16);
    await this.#write(end);
  }

  async #write(bytes: Uint8Array): Promise<void> {
    await append(this.#file, bytes);
    this.#position += bytes.length;
  }
}
