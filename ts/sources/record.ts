import type {RepVGGError} from '../errors.ts';
import type {ImageInput} from '../images.ts';

/** One image to score, and what is known of it. */
export interface SourceRecord {
  /** What the image's row is called. */
  id: string;
  image: ImageInput;
  /** The class it is known to belong to: its folder's name, its .cls file in a tar, or its column. */
  label?: string;
  /** The other columns of its table, or the entries of its .json in a tar. */
  fields?: Readonly<Record<string, unknown>>;
}

/** A record without a usable image, such as a line that is not JSON. Its row has the error, and the fields if there are any. */
export interface UnreadableRecord extends Pick<SourceRecord, 'id' | 'label' | 'fields'> {
  error: RepVGGError;
}

/** What reading a source gives. */
export type Records = AsyncGenerator<SourceRecord | UnreadableRecord>;
