import type Sharp from 'sharp';
import {RepVGGError} from '../errors.ts';

/**
 * Loads sharp when it is first needed, so that the package can be imported where sharp does not load.
 *
 * @throws {RepVGGError} ERR_NATIVE_LOAD
 */
export async function loadSharp(): Promise<typeof Sharp> {
  try {
    return (await import('sharp')).default;
  } catch (cause) {
    // The cause comes before a list of npm commands for several systems.
    const reason = (cause as Error).message.split('Possible solutions')[0]!.trim().replaceAll('\n', '; ');
    const message = `sharp, which decodes the images, does not load: ${reason}. Install it again with "npm install sharp".`;
    throw new RepVGGError('ERR_NATIVE_LOAD', message, {cause});
  }
}
