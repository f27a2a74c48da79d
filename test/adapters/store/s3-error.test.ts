// What S3 services and their client say, and which kind of error it is.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { toStoreError } from '../../../adapters/store/s3-error.ts';
import type { StoreErrorKind } from '../../../adapters/store/store.ts';

const SAID: readonly (readonly [kind: StoreErrorKind, name: string, status?: number])[] = [
  ['conflict', 'PreconditionFailed', 412],
  ['conflict', 'ConditionalRequestConflict', 409],
  ['conflict', 'OperationAborted', 409],
  ['conflict', 'NoSuchUpload', 404],
  ['denied', 'AccessDenied', 403],
  ['denied', 'SignatureDoesNotMatch', 403],
  ['denied', 'ExpiredToken', 400],
  ['denied', 'CredentialsProviderError'],
  ['invalid', 'NoSuchBucket', 404],
  ['invalid', 'PermanentRedirect', 301],
  ['invalid', 'NotImplemented', 501],
  ['invalid', 'EntityTooLarge', 400],
  ['unavailable', 'RequestTimeout', 400],
  ['unavailable', 'SlowDown', 503],
  ['unavailable', 'InternalError', 500],
  ['unavailable', 'TooManyRequests', 429],
  ['unavailable', 'TimeoutError'],
];

for (const [kind, name, status] of SAID) {
  test(`${name} ${status ?? 'without a status'} is ${kind}`, () => {
    const cause = { name, message: 'of the service', $metadata: { httpStatusCode: status } };
    const error = toStoreError('s3://bucket/a', cause);
    assert.equal(error.kind, kind);
    assert.equal(error.message, `s3://bucket/a: ${name}${status ? ` ${status}` : ''}`);
    assert.equal(error.cause, cause);
  });
}

test('an error of the network is told by its code', () => {
  const error = toStoreError('s3://bucket/a', Object.assign(new Error('x'), { code: 'ENOTFOUND' }));
  assert.equal(error.kind, 'unavailable');
  assert.equal(error.message, 's3://bucket/a: ENOTFOUND');
});
