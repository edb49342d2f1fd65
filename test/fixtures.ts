import {readFileSync} from 'node:fs';
import {fileURLToPath} from 'node:url';
import type {ArchitectureOptions} from '../ts/architecture.ts';
import type {Form} from '../ts/network.ts';
import type {Interpolation, Preprocessing} from '../ts/preprocessing.ts';

/** What test/reference/make_fixtures.py writes: the values that PyTorch in float64 and Pillow give. */
interface Expected {
  preprocessing: Preprocessing;
  photos: Record<
    string,
    {
      width: number;
      height: number;
      rgbSha256: string;
      crops: {resize: number; crop: number; interpolation: Interpolation; rgbSha256: string}[];
    }
  >;
  images: Record<string, {width: number; height: number; rgbSha256: string}>;
  checkpoints: Record<
    string,
    {
      architecture: ArchitectureOptions;
      widths: readonly number[];
      form: Form;
      logits: number[][] | null;
      embeddings: number[][];
    }
  >;
}

const fixture = (path: string): string => fileURLToPath(new URL(`fixtures/${path}`, import.meta.url));

export const expected = JSON.parse(readFileSync(fixture('expected.json'), 'utf8')) as Expected;

export const photo = (name: string): string => fixture(`photos/${name}`);
export const image = (name: string): string => fixture(`images/${name}`);
export const jpeg = (name: string): string => fixture(`jpegs/${name}`);
export const checkpoint = (name: string): string => fixture(`checkpoints/${name}`);
export const hostile = (name: string): string => fixture(`hostile/${name}`);

/** The photographs in the order of the expected logits. */
export const photos: string[] = Object.keys(expected.photos).map(photo);

/** A PNG that says it has as many pixels. */
export function bomb(width: number, height: number): Buffer {
  const png = Buffer.from(
    'iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==',
    'base64',
  );
  png.writeUInt32BE(width, 16);
  png.writeUInt32BE(height, 20);
  png.writeUInt32BE(crc32(png.subarray(12, 29)), 29);
  return png;
}

function crc32(bytes: Uint8Array): number {
  let crc = ~0;
  for (const byte of bytes) {
    crc ^= byte;
    for (let i = 0; i < 8; i++) crc = (crc >>> 1) ^ (crc & 1 ? 0xedb88320 : 0);
  }
  return ~crc >>> 0;
}
