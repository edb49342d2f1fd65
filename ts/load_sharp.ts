import type Sharp from 'sharp';
import {RepVGGError} from './errors.ts';

/**
 * sharp, when the first image is decoded and not before, so that importing the package works where sharp does not load.
 *
 * @throws {RepVGGError} ERR_NATIVE_LOAD
 */
export async function loadSharp(): Promise<typeof Sharp> {
  try {
    return (await import('sharp')).default;
  } catch (cause) {
    // What follows are npm commands for several systems; before it is what was found and what is required.
    const reason = (cause as Error).message.split('Possible solutions')[0]!.trim().replaceAll('\n', '; ');
    const message = `sharp, which decodes the images, does not load: ${reason}. Install it again with "npm install sharp".`;
    throw new RepVGGError('ERR_NATIVE_LOAD', message, {cause});
  }
}
