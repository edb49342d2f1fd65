import {createHash} from 'node:crypto';
import type {RepVGGError} from '../errors.ts';
import {cannotResume, type Progress} from './marker.ts';

export function digestOf(text: string): string {
  return createHash('sha256').update(text).digest('hex');
}

/** Extends the digest of a sequence of ids by one id. The digest of no ids is ''. */
export const digestWith = (digest: string, id: string): string => digestOf(`${digest}\n${id}`);

/**
 * Tells of each id of a source, in order, whether its row is already written, and checks that the ids are those of the written rows.
 *
 * @throws {RepVGGError} ERR_RESUME, from either function
 */
export function skipWritten(
  {rows, idDigest}: Pick<Progress, 'rows' | 'idDigest'>,
  path: string,
): {next: (id: string) => boolean; end: () => void} {
  let [position, digest] = [0, ''];
  const changed = (problem: string): RepVGGError => cannotResume(path, `the source has changed: ${problem}`);
  return {
    next: id => {
      if (position === rows) return false;
      digest = digestWith(digest, id);
      if (++position === rows && digest !== idDigest) throw changed(`its first ${rows} ids are different`);
      return true;
    },
    end: () => {
      if (position < rows) throw changed(`it has ${position} records but ${rows} rows were written`);
    },
  };
}
