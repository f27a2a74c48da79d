// Every error that a user may see, with its stable code. Only `http/middleware/errors.ts` writes the
// HTTP envelope and only `main.ts` turns an error into an exit code.

/** Code → HTTP status (contract: OpenAI's envelope, with the codes that routers and SDKs act on). */
const STATUS_OF_CODE = {
  invalid_request: 400,
  invalid_json: 400,
  invalid_utf8: 400,
  context_length_exceeded: 400,
  unsupported_parameter: 400,
  unknown_parameter: 400,
  invalid_training_file: 400,
  invalid_n_examples: 400,
  invalid_api_key: 401,
  forbidden: 403,
  origin_not_allowed: 403,
  not_found: 404,
  model_not_found: 404,
  method_not_allowed: 405,
  request_timeout: 408,
  payload_too_large: 413,
  unsupported_media_type: 415,
  expectation_failed: 417,
  header_too_large: 431,
  adapter_invalid: 422,
  adapter_non_finite: 422,
  base_mismatch: 422,
  idempotency_key_reused: 422,
  rate_limit_exceeded: 429,
  internal_error: 500,
  overloaded: 503,
  adapter_unavailable: 503,
  store_unavailable: 503,
  adapter_checksum_mismatch: 503,
  engine_restarting: 503,
  quarantined: 503,
  insufficient_storage: 507,
} as const;

export type ErrorCode = keyof typeof STATUS_OF_CODE;

export interface ServeErrorOptions {
  /** The request's field at fault, e.g. `messages[2].content`. */
  param?: string;
  /** Sent as `retry-after`; 429 and 503 always carry one (default 1). */
  retryAfterS?: number;
  cause?: unknown;
}

/** An error that is answered to a client: `message` is shown, so it never names a path, a key or a prompt. */
export class ServeError extends Error {
  override name = 'ServeError';
  readonly code: ErrorCode;
  readonly status: number;
  readonly param: string | null;
  readonly retryAfterS: number | undefined;

  constructor(code: ErrorCode, message: string, options: ServeErrorOptions = {}) {
    super(message, { cause: options.cause });
    this.code = code;
    this.status = STATUS_OF_CODE[code];
    this.param = options.param ?? null;
    const transient = this.status === 429 || this.status === 503;
    this.retryAfterS = options.retryAfterS ?? (transient ? 1 : undefined);
  }

  /** Plain data, to cross the process boundary. */
  toPlain(): PlainError {
    const { code, message, param, retryAfterS } = this;
    return { code, message, param, ...(retryAfterS !== undefined && { retryAfterS }) };
  }

  static fromPlain(plain: PlainError): ServeError {
    const { code, message, param, retryAfterS } = plain;
    return new ServeError(code, message, {
      ...(param !== null && { param }),
      ...(retryAfterS !== undefined && { retryAfterS }),
    });
  }
}

/** Whether a full disk, or a used-up quota, is the error or among its causes. */
export function isDiskFull(error: unknown): boolean {
  for (let cause = error; cause instanceof Error; cause = cause.cause) {
    if (DISK_FULL.has((cause as NodeJS.ErrnoException).code ?? '')) return true;
  }
  return false;
}

const DISK_FULL: ReadonlySet<string> = new Set(['ENOSPC', 'EDQUOT']);

/** The answer to a client whose request does not fit the disk (507). */
export function diskFullError(cause: unknown): ServeError {
  const message =
    "The server's disk is full. Delete files that are not needed, or tell its operator.";
  return new ServeError('insufficient_storage', message, { cause });
}

export interface PlainError {
  code: ErrorCode;
  message: string;
  param: string | null;
  retryAfterS?: number;
}

/** A file that is bad for ever: reading it again cannot help. `field` is the tensor, key or offset at fault. */
export class FileError extends Error {
  override name = 'FileError';
  readonly field: string;

  constructor(field: string, message: string, options?: { cause?: unknown }) {
    super(`${field}: ${message}`, options);
    this.field = field;
  }
}

/** A wrong setting: exit 78, one line per fault. */
export class ConfigError extends Error {
  override name = 'ConfigError';
  readonly faults: readonly string[];

  constructor(faults: readonly string[]) {
    super(faults.join('\n'));
    this.faults = faults;
  }
}

/** A wrong command line: exit 2. */
export class UsageError extends Error {
  override name = 'UsageError';
}
