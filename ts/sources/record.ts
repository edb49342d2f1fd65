import type {RepVGGError} from '../errors.ts';
import type {ImageInput} from '../images/images.ts';

/** One image to score and what is known about it. */
export interface SourceRecord {
  /** Identifies the image's row. */
  id: string;
  image: ImageInput;
  /** The known class: the name of its folder, the content of its .cls in a tar, or the value of the label column. */
  label?: string;
  /** The other columns of a table, or the entries of its .json in a tar. */
  fields?: Readonly<Record<string, unknown>>;
}

/** A record without a usable image, such as a line that is not JSON. Its row has the error, and the fields if any are known. */
export interface UnreadableRecord extends Pick<SourceRecord, 'id' | 'label' | 'fields'> {
  error: RepVGGError;
}

/** The records of a source. */
export type Records = AsyncGenerator<SourceRecord | UnreadableRecord>;
