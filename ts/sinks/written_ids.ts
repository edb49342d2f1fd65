import {createHash} from 'node:crypto';
import type {RepVGGError} from '../errors.ts';
import {cannotResume, type Progress} from './marker.ts';

export function digestOf(text: string): string {
  return createHash('sha256').update(text).digest('hex');
}

/** The digest of ids in their order, from that of all but the last; of none it is ''. */
export const digestWith = (digest: string, id: string): string => digestOf(`${digest}\n${id}`);

/**
 * Says of each id of a source in turn whether its row is in the file already, and checks that they are the ids that those rows have.
 *
 * @throws {RepVGGError} ERR_RESUME from either function
 */
export function skipWritten(
  {rows, idDigest}: Pick<Progress, 'rows' | 'idDigest'>,
  path: string,
): {next: (id: string) => boolean; end: () => void} {
  let [position, digest] = [0, ''];
  const changed = (problem: string): RepVGGError => cannotResume(path, `the source has changed, ${problem}`);
  return {
    next: id => {
      if (position === rows) return false;
      digest = digestWith(digest, id);
      if (++position === rows && digest !== idDigest) throw changed(`its first ${rows} ids are others`);
      return true;
    },
    end: () => {
      if (position < rows) throw changed(`it has ${position} records and ${rows} rows were written`);
    },
  };
}
