// What an S3 service or its client says, as a `StoreError`. A table over S3's own names first, then HTTP's statuses.
// It imports no client: only names and numbers count.
import { StoreError, type StoreErrorKind } from './store.ts';

/** Names whose status says less, or that have none. */
const KIND_OF_NAME: Readonly<Record<string, StoreErrorKind>> = {
  // A second try of an upload whose first was completed: what is there now may be ours.
  NoSuchUpload: 'conflict',
  NoSuchBucket: 'invalid',
  InvalidBucketName: 'invalid',
  AuthorizationHeaderMalformed: 'invalid',
  // Of the address that AWS_ENDPOINT_URL has.
  ERR_INVALID_URL: 'invalid',
  CredentialsProviderError: 'denied',
  TokenProviderError: 'denied',
  ExpiredToken: 'denied',
  InvalidToken: 'denied',
  // Of versitygw, with 404, where S3 says InvalidAccessKeyId.
  XAdminUserNotFound: 'denied',
  RequestTimeout: 'unavailable',
};

/** Any other status, and none (the network), may pass. */
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

/** @param what the object or folder, for people: `s3://bucket/key` */
export function toStoreError(what: string, cause: unknown): StoreError {
  const { name = '', code = '', message = '' } = cause as ServiceError;
  if (/^Region (is missing|not accepted)/.test(message)) {
    return new StoreError('invalid', 'set AWS_REGION (us-east-1, where a service has none)');
  }
  const status = statusOf(cause);
  const kind =
    KIND_OF_NAME[name] ?? KIND_OF_NAME[code] ?? KIND_OF_STATUS[status ?? 0] ?? 'unavailable';
  const said = [name === 'Error' ? undefined : name, code, status].filter(Boolean).join(' ');
  return new StoreError(kind, `${what}: ${said || 'no answer'}`, { cause });
}

/** Whether it is the object that is not there. An answer to HEAD has no name: it may be the bucket. */
export function isAbsent(error: unknown): boolean {
  return ['NoSuchKey', 'NotFound'].includes((error as ServiceError).name ?? '');
}

/** Whether it is the credentials, and only their time. */
export function isExpired(error: unknown): boolean {
  return (error as ServiceError).name === 'ExpiredToken';
}

function statusOf(error: unknown): number | undefined {
  return (error as ServiceError).$metadata?.httpStatusCode;
}
