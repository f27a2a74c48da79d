// What a user is told when a store fails: the reason behind an answer that was meant for clients of a server, and what
// to do about it.
import { StoreError, type StoreErrorKind } from '../../adapters/store/store.ts';
import { ServeError } from '../common/errors.ts';

/** By kind: for a bucket, and for a folder. */
const ADVICE: Record<StoreErrorKind, readonly [string, string]> = {
  denied: [
    'set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (or AWS_PROFILE) of somebody who may use it',
    'see that you may read and write it',
  ],
  unavailable: [
    'see that it is up and that AWS_ENDPOINT_URL and AWS_REGION lead to it, then run the command again: it goes on where it was',
    'see that its disk is there and has room, then run the command again: it goes on where it was',
  ],
  invalid: [
    'see that the bucket exists and that LORIKEET_STORE or --store names it',
    'see that the folder exists and that LORIKEET_STORE or --store names it',
  ],
  damaged: [
    'look at the object with the tools of the service, and publish the adapter again',
    'look at the file, and publish the adapter again',
  ],
  conflict: [
    'somebody else changes the same adapter: run the command again',
    'somebody else changes the same adapter: run the command again',
  ],
};

/** The error with its reason and a cure where it is a store's; else as it is. @param label of the store */
export function explainStore(error: unknown, label: string): unknown {
  if (!(error instanceof ServeError) || !(error.cause instanceof StoreError)) return error;
  const { kind, message } = error.cause;
  const advice = ADVICE[kind][label.startsWith('s3:') ? 0 : 1];
  const where = message.includes(label) ? '' : `${label}: `;
  return new ServeError(error.code, `${where}${message}\n  ${advice}`, { cause: error });
}
