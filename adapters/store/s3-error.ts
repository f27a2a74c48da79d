// Turns the errors of S3 services and of their client into `StoreError`: by S3's name for the error, or else by HTTP status.
import { StoreError, type StoreErrorKind } from './store.ts';

/** Names that are more specific than their status, or have none. */
const KIND_OF_NAME: Readonly<Record<string, StoreErrorKind>> = {
  // The client completed the upload twice: the existing object may be ours.
  NoSuchUpload: 'conflict',
  NoSuchBucket: 'invalid',
  InvalidBucketName: 'invalid',
  AuthorizationHeaderMalformed: 'invalid',
  // AWS_ENDPOINT_URL is not a URL.
  ERR_INVALID_URL: 'invalid',
  CredentialsProviderError: 'denied',
  TokenProviderError: 'denied',
  ExpiredToken: 'denied',
  InvalidToken: 'denied',
  // versitygw answers this with 404; S3 says InvalidAccessKeyId.
  XAdminUserNotFound: 'denied',
  RequestTimeout: 'unavailable',
};

/** Any other status, and no status (the network), is `unavailable`. */
const KIND_OF_STATUS: Readonly<Record<number, StoreErrorKind>> = {
  301: 'invalid',
  307: 'invalid',
  400: 'invalid',
  401: 'denied',
  403: 'denied',
  404: 'invalid',
  405: 'invalid',
  409: 'conflict',
  412: 'conflict',
  501: 'invalid',
};

interface ServiceError {
  readonly name?: string;
  readonly code?: string;
  readonly message?: string;
  readonly $metadata?: { readonly httpStatusCode?: number };
}

/** Returns the error of a call about `what`, such as `s3://bucket/key`. */
export function toStoreError(what: string, cause: unknown): StoreError {
  const { name = '', code = '', message = '' } = cause as ServiceError;
  if (/^Region (is missing|not accepted)/.test(message)) {
    return new StoreError(
      'invalid',
      'AWS_REGION is missing or invalid. Set it; use us-east-1 if the service has no regions.',
    );
  }
  const status = statusOf(cause);
  const kind =
    KIND_OF_NAME[name] ?? KIND_OF_NAME[code] ?? KIND_OF_STATUS[status ?? 0] ?? 'unavailable';
  const details = [name === 'Error' ? undefined : name, code, status].filter(Boolean).join(' ');
  return new StoreError(kind, `${what}: ${details || 'no answer'}`, { cause });
}

/** Whether the object does not exist. A HEAD response carries no error name, so it may also be the bucket. */
export function isAbsent(error: unknown): boolean {
  return ['NoSuchKey', 'NotFound'].includes((error as ServiceError).name ?? '');
}

/** Whether the credentials have expired. */
export function isExpired(error: unknown): boolean {
  return (error as ServiceError).name === 'ExpiredToken';
}

function statusOf(error: unknown): number | undefined {
  return (error as ServiceError).$metadata?.httpStatusCode;
}
