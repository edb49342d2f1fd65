import {stat} from 'node:fs/promises';
import {Argument} from 'commander';
import {RepVGGError} from '../errors.ts';
import type {SourceRecord, UnreadableRecord} from '../sources/record.ts';
import {isUrl} from '../support/urls.ts';

export const imagesArgument = (): Argument =>
  new Argument(
    '<images...>',
    'image files (JPEG, PNG, WebP, AVIF, TIFF, GIF), their URLs, or folders of them',
  );

/** The images named on the command line by path or URL, and those in named folders. A folder that cannot be read is an error row. */
export async function* openImages(paths: readonly string[]): AsyncGenerator<SourceRecord | UnreadableRecord> {
  for (const [index, path] of paths.entries()) {
    const stats = await stat(path).catch(() => undefined);
    if (!stats?.isDirectory()) {
      const url = isUrl(path) && URL.canParse(path) ? new URL(path) : undefined;
      // A data: URL is the image itself and too long for an id.
      yield {id: url?.protocol === 'data:' ? `image ${index + 1}` : path, image: url ?? path};
      continue;
    }
    const {openSource} = await import('../sources/source.ts');
    try {
      yield* openSource(path, {format: 'folder'});
    } catch (error) {
      if (!(error instanceof RepVGGError)) throw error;
      yield {id: path, error};
    }
  }
}
