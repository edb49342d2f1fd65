/** Every code of a {@link RepVGGError}. docs/errors.md has a section for each. */
export type RepVGGErrorCode =
  | 'ERR_INVALID_ARGUMENT'
  | 'ERR_FILE_NOT_FOUND'
  | 'ERR_FILE_READ'
  | 'ERR_FILE_WRITE'
  | 'ERR_DOWNLOAD'
  | 'ERR_CHECKPOINT_FORMAT'
  | 'ERR_CHECKPOINT_TRUNCATED'
  | 'ERR_CHECKPOINT_CORRUPT'
  | 'ERR_CHECKPOINT_UNSAFE'
  | 'ERR_CHECKPOINT_UNSUPPORTED'
  | 'ERR_CHECKPOINT_MISSING_TENSOR'
  | 'ERR_CHECKPOINT_EXTRA_TENSOR'
  | 'ERR_CHECKPOINT_SHAPE'
  | 'ERR_CHECKPOINT_VALUE'
  | 'ERR_ARCHITECTURE_UNKNOWN'
  | 'ERR_ARCHITECTURE_MISMATCH'
  | 'ERR_SOURCE'
  | 'ERR_DUPLICATE_ID'
  | 'ERR_DATASET'
  | 'ERR_RESUME'
  | 'ERR_DEPENDENCY_MISSING'
  | 'ERR_IMAGE_FETCH'
  | 'ERR_IMAGE_DECODE'
  | 'ERR_IMAGE_TOO_LARGE'
  | 'ERR_LABELS'
  | 'ERR_NO_CLASSIFIER'
  | 'ERR_DEVICE_UNAVAILABLE'
  | 'ERR_PRECISION_UNSUPPORTED'
  | 'ERR_OUT_OF_MEMORY'
  | 'ERR_DEVICE_LOST'
  | 'ERR_DEVICE_REFUSED'
  | 'ERR_NATIVE_LOAD'
  | 'ERR_INTERNAL'
  | 'ERR_DISPOSED';

/** The only error class of this package: `code` is for programs, `message` for people. */
export class RepVGGError extends Error {
  static {
    RepVGGError.prototype.name = 'RepVGGError';
  }

  readonly code: RepVGGErrorCode;

  constructor(code: RepVGGErrorCode, message: string, options?: {cause?: unknown}) {
    super(message, options);
    this.code = code;
  }
}

/** Builds the error for an invalid argument: "Expected WHAT for NAME but received VALUE". */
export function invalidArgument(name: string, expected: string, received: unknown): RepVGGError {
  const shown = typeof received === 'string' ? JSON.stringify(received) : describe(received);
  return new RepVGGError('ERR_INVALID_ARGUMENT', `Expected ${expected} for ${name} but received ${shown}.`);
}

function describe(value: unknown): string {
  if (value === null || typeof value !== 'object') return String(value);
  if (Array.isArray(value)) return `an array of ${value.length}`;
  // Parsed JSON may have a field of that name.
  return `an object of type ${typeof value.constructor === 'function' ? value.constructor.name : 'null'}`;
}

/** Converts a file system error into a coded one; `doing` says what was attempted, such as "read checkpoint x.pth". */
export function fileError(doing: string, cause: unknown): RepVGGError {
  const {code, message} = cause as NodeJS.ErrnoException;
  const options = {cause};
  if (code === 'ENOENT') {
    // Node replaces invalid UTF-8 by this character, and then does not find the file.
    const reason = doing.includes('\ufffd') ? ', since its name is not UTF-8' : '';
    return new RepVGGError('ERR_FILE_NOT_FOUND', `Cannot ${doing}: no such file${reason}.`, options);
  }
  if (code === 'EISDIR')
    return new RepVGGError('ERR_FILE_READ', `Cannot ${doing}: it is a directory.`, options);
  if (code === 'EACCES' || code === 'EPERM') {
    return new RepVGGError('ERR_FILE_READ', `Cannot ${doing}: permission denied.`, options);
  }
  return new RepVGGError('ERR_FILE_READ', `Cannot ${doing}: ${message}.`, options);
}
