// All errors that a user may see, with their stable codes. `http/middleware/errors.ts` turns them into HTTP responses,
// `common/failure.ts` into exit codes.

/** Code → HTTP status. Routers and SDKs act on these codes. */
const STATUS_OF_CODE = {
  invalid_request: 400,
  invalid_json: 400,
  invalid_utf8: 400,
  context_length_exceeded: 400,
  unsupported_parameter: 400,
  unknown_parameter: 400,
  previous_response_not_found: 400,
  invalid_training_file: 400,
  invalid_n_examples: 400,
  invalid_api_key: 401,
  forbidden: 403,
  origin_not_allowed: 403,
  not_found: 404,
  model_not_found: 404,
  method_not_allowed: 405,
  request_timeout: 408,
  precondition_failed: 412,
  expired: 410,
  payload_too_large: 413,
  unsupported_media_type: 415,
  expectation_failed: 417,
  header_too_large: 431,
  adapter_invalid: 422,
  adapter_non_finite: 422,
  adapter_signature_invalid: 422,
  base_mismatch: 422,
  idempotency_key_reused: 422,
  rate_limit_exceeded: 429,
  internal_error: 500,
  object_damaged: 500,
  unsupported_transfer_encoding: 501,
  overloaded: 503,
  adapter_unavailable: 503,
  store_unavailable: 503,
  adapter_checksum_mismatch: 503,
  engine_restarting: 503,
  quarantined: 503,
  deadline_exceeded: 504,
  insufficient_storage: 507,
} as const;

/** The `code` of an error response. */
export type ErrorCode = keyof typeof STATUS_OF_CODE;

/** Optional parts of a `ServeError`. */
interface ServeErrorOptions {
  /** The request field at fault, such as `messages[2].content`. */
  param?: string;
  /** Sent as `retry-after`. Default: 1 for 429 and 503, otherwise none. */
  retryAfterS?: number;
  /** The bad lines of the file at fault. */
  lines?: readonly number[];
  cause?: unknown;
}

/** An error that is sent to a client. Its message must not contain a path, a key or a prompt. */
export class ServeError extends Error {
  override name = 'ServeError';
  readonly code: ErrorCode;
  readonly status: number;
  readonly param: string | null;
  readonly retryAfterS: number | undefined;
  readonly lines: readonly number[] | undefined;

  constructor(code: ErrorCode, message: string, options: ServeErrorOptions = {}) {
    super(message, { cause: options.cause });
    this.code = code;
    this.status = STATUS_OF_CODE[code];
    this.param = options.param ?? null;
    this.lines = options.lines;
    const transient = this.status === 429 || this.status === 503;
    this.retryAfterS = options.retryAfterS ?? (transient ? 1 : undefined);
  }

  /** Converts to plain data that can cross a process boundary. */
  toPlain(): PlainError {
    const { code, message, param, retryAfterS } = this;
    return { code, message, param, ...(retryAfterS !== undefined && { retryAfterS }) };
  }

  /** Restores an error from `toPlain`. */
  static fromPlain(plain: PlainError): ServeError {
    const { code, message, param, retryAfterS } = plain;
    return new ServeError(code, message, {
      ...(param !== null && { param }),
      ...(retryAfterS !== undefined && { retryAfterS }),
    });
  }
}

/** Returns the error for a wrong field of a request (400). Its message begins with the field. */
export function fieldError(param: string, fault: string, cause?: unknown): ServeError {
  return new ServeError('invalid_request', `${param}: ${fault}`, { param, cause });
}

/** Returns the error for a request whose time is over (504). */
export function deadlineError({ ms }: { readonly ms: number }): ServeError {
  const message =
    `The request was not answered within its time limit of ${ms / 1000} s. Ask for fewer tokens, or raise the limit with the ` +
    'header x-request-timeout-ms. Without this header, --request-timeout of the server applies.';
  return new ServeError('deadline_exceeded', message);
}

/** Returns the error for an adapter that can never run, because its rank takes more memory than the adapter slots (422). */
export function exceedsSlotsError(rank: number): ServeError {
  const message = `adapter refused: rank ${rank} takes more memory than the adapter slots have. ${MORE_SLOT_MEMORY}`;
  return new ServeError('adapter_invalid', message, { param: 'r' });
}

/** The remedy if adapters do not fit into the adapter slots. */
export const MORE_SLOT_MEMORY =
  'Use a lower rank, or start the server with a smaller --slots or --max-seq, or with a higher memory limit.';

/** Whether a full disk or an exhausted quota caused the error. */
export function isDiskFull(error: unknown): boolean {
  return hasCause(error, ['ENOSPC', 'EDQUOT']);
}

function hasCause(error: unknown, codes: readonly (string | undefined)[]): boolean {
  for (let cause = error; cause instanceof Error; cause = cause.cause) {
    if (codes.includes((cause as NodeJS.ErrnoException).code)) return true;
  }
  return false;
}

/** Returns the error for a request whose data the disk cannot take (507, or 413 for a single file). Undefined: another failure. */
export function diskRefusal(cause: unknown): ServeError | undefined {
  if (isDiskFull(cause)) {
    const message =
      "The server's disk is full. Delete files that you no longer need, or tell its operator.";
    return new ServeError('insufficient_storage', message, { cause });
  }
  if (!hasCause(cause, ['EFBIG'])) return undefined;
  const message =
    'The file is too large for the file system of the server, or for the limit of its process (ulimit -f). Send a smaller file, or tell its operator.';
  return new ServeError('payload_too_large', message, { cause });
}

/** A message is one line of a log. The longest list of supported values takes 300 characters. */
const MAX_MESSAGE_LENGTH = 900;

/**
 * Truncates a message that quotes a file, and escapes characters with which the file could overwrite other lines of a terminal.
 */
export function toPrintable(message: string): string {
  const escaped = message.replace(
    /[\p{C}\p{Zl}\p{Zp}]/gu,
    (char) => `\\u{${char.codePointAt(0)!.toString(16)}}`,
  );
  return escaped.length <= MAX_MESSAGE_LENGTH
    ? escaped
    : `${escaped.slice(0, MAX_MESSAGE_LENGTH)}…`;
}

/** A `ServeError` as plain data. */
export interface PlainError {
  code: ErrorCode;
  message: string;
  param: string | null;
  retryAfterS?: number;
}

/** A file with invalid content, which no retry can fix. `field` names the tensor, key or file at fault. */
export class FileError extends Error {
  override name = 'FileError';
  readonly field: string;

  constructor(field: string, message: string, options?: { cause?: unknown }) {
    super(toPrintable(`${field}: ${message}`), options);
    this.field = field;
  }
}

/** A failed download that may succeed later. Its message says what to do. */
export class FetchError extends Error {
  override name = 'FetchError';
  /** Marks an error that is not a bug of this program. */
  readonly code = 'fetch_failed';
}

/** One invalid setting or several, one fault per line. Exit code 78. */
export class ConfigError extends Error {
  override name = 'ConfigError';
  readonly faults: readonly string[];

  constructor(fault: string | readonly string[]) {
    const faults = [fault].flat();
    super(faults.join('\n'));
    this.faults = faults;
  }
}

/** An invalid command line. Exit code 2. */
export class UsageError extends Error {
  override name = 'UsageError';
}
