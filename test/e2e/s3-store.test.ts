// The driver over S3 keeps what every store promises, on each of the real servers, also if an answer is lost.
import assert from 'node:assert/strict';
import { after } from 'node:test';
import { ListMultipartUploadsCommand, S3Client } from '@aws-sdk/client-s3';
import { createS3Store } from '../../adapters/store/s3.ts';
import {
  bytesOf,
  largeFile,
  ofKind,
  readText,
  storeConformance,
} from '../adapters/store/conformance.ts';
import { listKeys } from '../adapters/store/wrapped-store.ts';
import { testUnless } from '../shared.ts';
import { firstOnes } from './fault-proxy.ts';
import { OPTIONS, openWith, rejectsEverywhere, startFaulty } from './s3-driver.ts';
import {
  openStore,
  prepareS3Server,
  S3_KINDS,
  type S3Kind,
  type S3Server,
  startS3Server,
} from './s3-server.ts';

for (const kind of S3_KINDS) {
  const skip = await prepareS3Server(kind);
  await conforms(kind, skip);
  const test = testUnless(skip);
  refuses(kind, test);
  keeps(kind, test);
}

async function conforms(kind: S3Kind, skip: string | false): Promise<void> {
  // Each test uses its own prefix as an empty store.
  const shared = skip ? undefined : await startS3Server({ after }, kind);
  let opened = 0;
  for (const checksums of ['when_supported', 'when_required'] as const) {
    storeConformance({
      name: `${kind}, checksums ${checksums}`,
      skip,
      largeBytes: 20 * 2 ** 20,
      async open() {
        assert(shared);
        opened += 1;
        const place = { bucket: shared.bucket, prefix: `some/prefix-${opened}` };
        return createS3Store(place, { ...OPTIONS, checksums, connection: shared });
      },
    });
  }
}

/** Who and what is not there. */
function refuses(kind: S3Kind, test: ReturnType<typeof testUnless>): void {
  test(`${kind}: wrong credentials are denied by every call`, async (t) => {
    const server = await startS3Server(t, kind);
    const wrong = { ...server.credentials, secretAccessKey: 'another' };
    await rejectsEverywhere(openWith(server, { credentials: wrong }), 'denied');
    const unknown = { ...server.credentials, accessKeyId: 'nobody' };
    await assert.rejects(openWith(server, { credentials: unknown }).get('a'), ofKind('denied'));
  });

  test(`${kind}: a bucket that is not there is invalid for every call`, async (t) => {
    const server = await startS3Server(t, kind);
    await rejectsEverywhere(openWith({ ...server, bucket: 'absent-bucket' }), 'invalid');
  });

  test(`${kind}: a server that is not there is unavailable for every call`, async (t) => {
    const server = await startS3Server(t, kind);
    await server.kill();
    await rejectsEverywhere(openWith(server), 'unavailable');
  });
}

/** What a server has confirmed, or might have. */
function keeps(kind: S3Kind, test: ReturnType<typeof testUnless>): void {
  test(`${kind}: what a killed server confirmed is there when it is back`, async (t) => {
    const server = await startS3Server(t, kind);
    const store = openWith(server);
    await store.put('a', bytesOf('one'));
    await server.kill();
    await server.restart();
    assert.equal(await readText(store, 'a'), 'one');
  });

  test(`${kind}: one store sees nothing beside its prefix`, async (t) => {
    const server = await startS3Server(t, kind);
    const [one, other, whole] = [
      openStore(server, 'p'),
      openStore(server, 'p-2'),
      openStore(server),
    ];
    await one.put('a/b', bytesOf('one'));
    await other.put('a/b', bytesOf('other'));
    assert.deepEqual(await listKeys(one, ''), ['a/b']);
    assert.deepEqual(await listKeys(one, '', { delimiter: '/' }), ['a/']);
    assert.deepEqual(await listKeys(whole, ''), ['p-2/a/b', 'p/a/b']);
    assert.equal(await readText(other, 'a/b'), 'other');
  });

  test(`${kind}: two clients that race over the parts of a large object: one wins`, async (t) => {
    const server = await startS3Server(t, kind);
    const file = await largeFile(t, 17 * 2 ** 20);
    const racers = [openWith(server), openWith(server), openWith(server)];
    const results = await Promise.allSettled(
      racers.map((store) => store.put('large', { file }, { ifAbsent: true })),
    );
    const lost = results.flatMap((result) => (result.status === 'rejected' ? [result.reason] : []));
    assert.equal(lost.length, 2);
    for (const error of lost) ofKind('conflict')(error);
    assert.deepEqual(await uploadsOf(server, 'large'), []);
  });

  test(`${kind}: an aborted upload of parts leaves no parts`, async (t) => {
    const { proxy, store } = await startFaulty(t, kind);
    const file = await largeFile(t, 40 * 2 ** 20);
    const controller = new AbortController();
    const reason = new Error('enough');
    const removed = new Promise<void>((resolve) => {
      proxy.script = ({ method, query }) => {
        if (query.get('partNumber') === '3') controller.abort(reason);
        if (method === 'DELETE' && query.has('uploadId')) resolve();
        return undefined;
      };
    });
    const putting = store.put('large', { file }, { signal: controller.signal });
    await assert.rejects(putting, (error) => error === reason);
    await removed;
    assert.equal(await store.head('large'), undefined);
    assert.deepEqual(await listKeys(store, ''), []);
  });

  test(`${kind}: a put whose answer is lost is there; a condition then reads as a conflict`, async (t) => {
    const { proxy, store, direct } = await startFaulty(t, kind);
    const isPut = ({ method }: { method: string }): boolean => method === 'PUT';
    proxy.script = firstOnes(1, { kind: 'lost' }, isPut);
    await store.put('a', bytesOf('one'));
    assert.equal(await readText(direct, 'a'), 'one');
    proxy.script = firstOnes(1, { kind: 'lost' }, isPut);
    await assert.rejects(store.put('b', bytesOf('two'), { ifAbsent: true }), ofKind('conflict'));
    assert.equal(await readText(direct, 'b'), 'two');
  });

  test(`${kind}: parts that were completed without an answer are there, and at most a conflict`, async (t) => {
    const { proxy, store, direct } = await startFaulty(t, kind);
    const file = await largeFile(t, 17 * 2 ** 20);
    const isCompletion: Parameters<typeof firstOnes>[2] = ({ method, query }) =>
      method === 'POST' && query.has('uploadId');
    proxy.script = firstOnes(1, { kind: 'lost' }, isCompletion);
    // The second try finds its upload gone, or a service that remembers it.
    await store.put('large', { file }, { ifAbsent: true }).catch(ofKind('conflict'));
    assert.equal(proxy.requests.filter(isCompletion).length, 2);
    assert.equal((await direct.head('large'))?.byteSize, 17 * 2 ** 20);
  });
}

/** The uploads of an object in parts that were neither completed nor aborted. */
async function uploadsOf(server: S3Server, key: string): Promise<string[]> {
  const client = new S3Client({ ...server, forcePathStyle: true });
  try {
    const input = { Bucket: server.bucket, Prefix: key };
    const { Uploads = [] } = await client.send(new ListMultipartUploadsCommand(input));
    return Uploads.map(({ UploadId }) => String(UploadId));
  } finally {
    client.destroy();
  }
}
