import {
  isTarHeader,
  isZeroBlock,
  tarBlockBytes,
  tarBlocksOf,
  tarField,
  tarNumber,
  tarText,
} from '../tar_header.ts';
import {ByteReader} from './byte_reader.ts';

/** What a tar has under one name. */
export interface Member {
  name: string;
  kind: Kind;
  /** What a link leads to. */
  target: string;
  /** Bytes that it has in the tar. */
  size: number;
  /** Its bytes, which are passed over once the next member is asked for. */
  read(): Promise<Uint8Array>;
}

/** A sparse file of GNU tar is stored without its zeros, and a list of where they were. */
type Kind = 'file' | 'directory' | 'link' | 'sparse' | 'other';

/** Of a long name, or of the records before a member. */
const mostRecordBytes = 2 ** 20;
/** In a block with more of a sparse file's list: whether another one follows. */
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
 * The members of a tar: POSIX's ustar and pax formats (IEEE Std 1003.1, pax), those of GNU tar ("Basic Tar Format" of its manual), and
 * what Unix had before. They have to be read in turn.
 *
 * @throws {Error} with what is wrong with the tar, as the rest of a sentence; what the stream throws
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
      if (!isTarHeader(header) || Number.isNaN(stored)) throw new Error('one of its headers is damaged');
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
      const taken = await reading; // Throws again what stood in its way: nothing can be read behind it.
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

/** Behind the last member are two blocks of zeros at least, and only zeros. */
async function checkEnd(bytes: ByteReader): Promise<void> {
  for (
    let block = await takeAll(bytes, tarBlockBytes);
    block.length > 0;
    block = await bytes.take(tarBlockBytes)
  ) {
    if (!isZeroBlock(block)) throw new Error('there is something behind its end, perhaps a second tar');
  }
}

async function takeAll(bytes: ByteReader, count: number): Promise<Buffer> {
  const taken = await bytes.take(count);
  if (taken.length < count) throw cutShort();
  return taken;
}

const cutShort = (): Error => new Error('it is cut short');

async function takeRecords(bytes: ByteReader, size: number): Promise<Buffer> {
  if (size > mostRecordBytes) throw new Error('what it says of a member is too long');
  return (await takeAll(bytes, tarBlocksOf(size))).subarray(0, size);
}

/** Of pax: "27 path=some/long/name.jpg\n", the length being that of the whole record. */
function* parseRecords(records: Buffer): Generator<[key: string, value: string]> {
  for (let start = 0; start < records.length; ) {
    const [digits] = /^\d{1,7} /.exec(records.toString('latin1', start, start + 8)) ?? [''];
    const end = start + Number(digits);
    const record = records.toString('utf8', start + digits.length, end - 1);
    const equals = record.indexOf('=');
    if (end <= start + digits.length || end > records.length || equals < 1)
      throw new Error('its pax records are damaged');
    yield [record.slice(0, equals), record.slice(equals + 1)];
    start = end;
  }
}
