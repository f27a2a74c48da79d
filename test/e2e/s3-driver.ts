// The driver on a real S3 server, past and by way of a proxy that breaks requests.
import assert from 'node:assert/strict';
import { createS3Store, type S3StoreOptions } from '../../adapters/store/s3.ts';
import type { ObjectStore } from '../../adapters/store/store.ts';
import { bytesOf, ofKind } from '../adapters/store/conformance.ts';
import { listKeys } from '../adapters/store/wrapped-store.ts';
import { type FaultProxy, startFaultProxy } from './fault-proxy.ts';
import { type S3Kind, type S3Server, startS3Server } from './s3-server.ts';

export const OPTIONS = { isPathStyle: true, checksums: 'when_supported' } as const;
/** Short enough for a test, long enough for a busy machine. */
export const DEADLINES = { connectMs: 2_000, firstByteMs: 600, idleMs: 400 };

interface Faulty {
  readonly server: S3Server;
  readonly proxy: FaultProxy;
  /** By way of the proxy. */
  readonly store: ObjectStore;
  /** Past it. */
  readonly direct: ObjectStore;
}

export async function startFaulty(
  t: { after(fn: () => unknown): void },
  kind?: S3Kind,
): Promise<Faulty> {
  const server = await startS3Server(t, kind);
  const proxy = await startFaultProxy(t, server.endpoint);
  const open = (endpoint: string): ObjectStore => {
    const connection = { ...server, endpoint };
    const place = { bucket: server.bucket, prefix: '' };
    return createS3Store(place, { ...OPTIONS, deadlines: DEADLINES, connection });
  };
  return { server, proxy, store: open(proxy.endpoint), direct: open(server.endpoint) };
}

export function openWith(
  server: S3Server,
  change: Partial<S3StoreOptions['connection'] & object> = {},
): ObjectStore {
  const place = { bucket: server.bucket, prefix: '' };
  return createS3Store(place, { ...OPTIONS, connection: { ...server, ...change } });
}

export async function rejectsEverywhere(
  store: ObjectStore,
  kind: Parameters<typeof ofKind>[0],
): Promise<void> {
  await assert.rejects(store.get('a'), ofKind(kind), 'get');
  await assert.rejects(store.head('a'), ofKind(kind), 'head');
  await assert.rejects(store.put('a', bytesOf('x')), ofKind(kind), 'put');
  await assert.rejects(store.delete('a'), ofKind(kind), 'delete');
  await assert.rejects(listKeys(store, ''), ofKind(kind), 'list');
}
