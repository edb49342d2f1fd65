import {
  isTarHeader,
  isZeroBlock,
  tarBlockBytes,
  tarBlocksOf,
  tarField,
  tarNumber,
  tarText,
} from '../support/tar_header.ts';
import {ByteReader} from './byte_reader.ts';

/** One entry of a tar. */
export interface Member {
  name: string;
  kind: Kind;
  /** The target of a link. */
  target: string;
  /** Bytes stored in the tar. */
  size: number;
  /** Reads the content, which must happen before the next member is requested. */
  read(): Promise<Uint8Array>;
}

/** GNU tar stores a sparse file without its holes and with a map of them. */
type Kind = 'file' | 'directory' | 'link' | 'sparse' | 'other';

/** Limit for a long name or the extended header of a member. */
const mostRecordBytes = 2 ** 20;
/** Offset of the flag, in an extension block of a sparse map, that another such block follows. */
const isExtendedInBlock = 504;

const kinds: Readonly<Record<string, Kind>> = {
  '\0': 'file',
  '0': 'file',
  '1': 'link',
  '2': 'link',
  '3': 'other',
  '4': 'other',
  '5': 'directory',
  '6': 'other',
  '7': 'file',
  S: 'sparse',
};

/**
 * The members of a tar, one after the other: ustar and pax (IEEE Std 1003.1, pax), GNU ("Basic Tar Format" in GNU tar's manual) and v7.
 *
 * @throws {Error} whose message, the second half of a sentence, says what is wrong with the tar; errors of the stream
 */
export async function* readMembers(stream: AsyncIterable<Uint8Array>): AsyncGenerator<Member> {
  const bytes = new ByteReader(stream);
  const forAll = new Map<string, string>();
  let own = new Map<string, string>();
  try {
    for (;;) {
      const header = await takeAll(bytes, tarBlockBytes);
      if (isZeroBlock(header)) break;
      const type = tarText(header, tarField.type) || '\0';
      const stored = tarNumber(header, tarField.size);
      if (!isTarHeader(header) || Number.isNaN(stored)) throw new Error('a header is damaged');
      if (type === 'x' || type === 'g') {
        const records = await takeRecords(bytes, stored);
        for (const [key, value] of parseRecords(records)) (type === 'x' ? own : forAll).set(key, value);
        continue;
      }
      if (type === 'L' || type === 'K') {
        const long = await takeRecords(bytes, stored);
        own.set(type === 'L' ? 'path' : 'linkpath', tarText(long, [0, long.length]));
        continue;
      }
      const records = new Map([...forAll, ...own]);
      own = new Map();
      const member = toMember(header, type, stored, records);
      if (type === 'S' && header[tarField.isExtended[0]]! > 0)
        while ((await takeAll(bytes, tarBlockBytes))[isExtendedInBlock]! > 0);
      let reading: Promise<Buffer> | undefined;
      const read = (): Promise<Buffer> => {
        reading = takeAll(bytes, member.size);
        return reading;
      };
      yield {...member, read};
      const taken = await reading; // Rethrows a failed read: nothing after it can be read.
      const left = tarBlocksOf(member.size) - (taken?.length ?? 0);
      if ((await bytes.skip(left)) < left) throw cutShort();
    }
    await checkEnd(bytes);
  } finally {
    await bytes.close();
  }
}

function toMember(
  header: Buffer,
  type: string,
  stored: number,
  records: ReadonlyMap<string, string>,
): Omit<Member, 'read'> {
  const prefix = tarText(header, tarField.magic) === 'ustar' ? tarText(header, tarField.prefix) : '';
  const short = tarText(header, tarField.name);
  const path = records.get('path') ?? (prefix === '' ? short : `${prefix}/${short}`);
  const isSparse = [...records.keys()].some(key => key.startsWith('GNU.sparse.'));
  const kind = isSparse ? 'sparse' : path.endsWith('/') ? 'directory' : (kinds[type] ?? 'file');
  const size = records.get('size') ?? '';
  return {
    name: records.get('GNU.sparse.name') ?? path,
    kind,
    target: records.get('linkpath') ?? tarText(header, tarField.target),
    size: kind === 'file' || kind === 'sparse' ? (/^\d{1,15}$/.test(size) ? Number(size) : stored) : 0,
  };
}

/** The end is marked by two blocks of zeros, and only zeros may follow. */
async function checkEnd(bytes: ByteReader): Promise<void> {
  for (
    let block = await takeAll(bytes, tarBlockBytes);
    block.length > 0;
    block = await bytes.take(tarBlockBytes)
  ) {
    if (!isZeroBlock(block)) throw new Error('data follows its end, perhaps a second tar');
  }
}

async function takeAll(bytes: ByteReader, count: number): Promise<Buffer> {
  const taken = await bytes.take(count);
  if (taken.length < count) throw cutShort();
  return taken;
}

const cutShort = (): Error => new Error('it is cut short');

async function takeRecords(bytes: ByteReader, size: number): Promise<Buffer> {
  if (size > mostRecordBytes) throw new Error('the extended header of a member is too long');
  return (await takeAll(bytes, tarBlocksOf(size))).subarray(0, size);
}

/** Parses pax records such as "27 path=some/long/name.jpg\n"; the number is the length of the whole record. */
function* parseRecords(records: Buffer): Generator<[key: string, value: string]> {
  for (let start = 0; start < records.length; ) {
    const [digits] = /^\d{1,7} /.exec(records.toString('latin1', start, start + 8)) ?? [''];
    const end = start + Number(digits);
    const record = records.toString('utf8', start + digits.length, end - 1);
    const equals = record.indexOf('=');
    if (end <= start + digits.length || end > records.length || equals < 1)
      throw new Error('a pax header is damaged');
    yield [record.slice(0, equals), record.slice(equals + 1)];
    start = end;
  }
}
