import {isImageName} from '../encoded_image.ts';
import {RepVGGError} from '../errors.ts';
import type {SourceFile} from './options.ts';
import type {Records} from './record.ts';
import {checkFields} from './table.ts';
import {walk} from './walk.ts';

/**
 * The images in a folder and those below it, in the order of their names, hidden ones among them. An image below the folder
 * is labelled with the name of the folder's own subfolder that it is in, as torchvision's ImageFolder does.
 */
export async function* readFolder(file: SourceFile): Records {
  const {path, signal} = file;
  checkFields(file, 'a folder', ['label']);
  let none = true;
  for await (const record of imagesBelow(path, [], signal)) {
    if (!('error' in record)) none = false;
    yield record;
  }
  if (none) throw new RepVGGError('ERR_SOURCE', `Cannot read source ${path}: there are no images in it.`);
}

/**
 * The images of a folder, which may have none.
 *
 * @param above names of the folders above, where the label is the first of them
 */
export async function* imagesBelow(folder: string, above: string[], signal?: AbortSignal): Records {
  for await (const found of walk(folder, {names: above, signal})) {
    if ('error' in found) yield {id: found.path, error: found.error};
    else if (isImageName(found.path)) {
      const {names} = found;
      yield {id: found.path, image: found.path, ...(names.length > 1 && {label: names[0]!})};
    }
  }
}
