// Adapters fetched from a real S3 server through a proxy that breaks requests: each fault has its answer (threats F06
// to F14), what is on the disk is served all the same, and no connection is left behind.
import assert from 'node:assert/strict';
import path from 'node:path';
import { type TestContext, test } from 'node:test';
import { digestAdapterFiles } from '../../adapters/files.ts';
import { keys } from '../../adapters/manifest.ts';
import { createS3Store } from '../../adapters/store/s3.ts';
import { DiskTier } from '../../adapters/tiers/disk.ts';
import { Fetcher } from '../../adapters/tiers/fetcher.ts';
import { createLocalAdapters } from '../../adapters/tiers/local-adapters.ts';
import type { ErrorCode } from '../../src/errors.ts';
import { type Published, publishedVersion, toResolved } from '../adapters/tiers/published.ts';
import { temporaryFolder } from '../fixtures.ts';
import { type Fault, firstOnes, type SeenRequest, startFaultProxy } from './fault-proxy.ts';
import { prepareS3Server, startS3Server } from './s3-server.ts';

const skip = await prepareS3Server();

const WEIGHT_BYTES = 300_000;
/** Short enough for a test, long enough for a busy machine. */
const DEADLINES = { firstByteMs: 2_500, idleMs: 600, totalMs: 8_000 };
/** Of the driver: each of its tries is shorter than the fetcher's patience. */
const TRY_DEADLINES = { connectMs: 2_000, firstByteMs: 700, idleMs: 500 };

async function setUp(t: TestContext) {
  const server = await startS3Server(t);
  const proxy = await startFaultProxy(t, server.endpoint);
  const open = (endpoint: string, deadlines = TRY_DEADLINES) =>
    createS3Store(
      { bucket: server.bucket, prefix: '' },
      {
        isPathStyle: true,
        checksums: 'when_supported',
        deadlines,
        connection: { ...server, endpoint },
      },
    );
  const alerts: (string | undefined)[] = [];
  const keep = (line: { alert?: string }) => void alerts.push(line.alert);
  const log = { warn: keep, error: keep } as never;
  const root = path.join(temporaryFolder(t), 'adapters');
  const local = createLocalAdapters({
    fetcher: new Fetcher({ store: open(proxy.endpoint), log, deadlines: DEADLINES }),
    places: [new DiskTier({ root, capacityBytes: 2 ** 24 })],
    log,
  });
  t.after(() => local.close());
  const direct = open(server.endpoint, { ...TRY_DEADLINES, firstByteMs: 10_000 });
  const publish = async (name: string): Promise<Published> => {
    const version = publishedVersion(name, { weightBytes: WEIGHT_BYTES });
    for (const [file, bytes] of Object.entries(version.bytes)) {
      await direct.put(keys.versionFile(version.manifest, file), bytes);
    }
    return version;
  };
  return { proxy, local, alerts, publish };
}

const isWeights = ({ path }: SeenRequest) => path.endsWith('safetensors');

interface Case {
  readonly name: string;
  readonly fault: Fault;
  /** Requests that it breaks; absent: all for the weights. */
  readonly times?: number;
  /** Absent: the adapter comes all the same. */
  readonly code?: ErrorCode;
  readonly alert?: string;
  /** For the weights, of the client's own tries and of ours. */
  readonly requests?: number;
}

const CASES: readonly Case[] = [
  { name: 'F06 latency within the deadline', fault: { kind: 'latency', ms: 200 }, requests: 1 },
  {
    name: 'F06 no answer at all',
    fault: { kind: 'silent' },
    code: 'adapter_unavailable',
  },
  { name: 'F07 500 once', fault: { kind: 'status', status: 500 }, times: 1, requests: 2 },
  {
    name: 'F07 SlowDown for good',
    fault: { kind: 'status', status: 503 },
    code: 'adapter_unavailable',
  },
  {
    name: 'F08 403',
    fault: { kind: 'status', status: 403 },
    code: 'adapter_unavailable',
    alert: 's3_auth',
    requests: 1,
  },
  {
    name: 'F09 404 of a published file',
    fault: { kind: 'status', status: 404 },
    code: 'adapter_unavailable',
    alert: 'dangling_pointer',
    requests: 1,
  },
  { name: 'F10 a body cut once', fault: { kind: 'cut', at: 1_000 }, times: 1, requests: 2 },
  {
    name: 'F10 a body cut for good',
    fault: { kind: 'cut', at: WEIGHT_BYTES - 1 },
    code: 'adapter_unavailable',
    requests: 3,
  },
  {
    name: 'F11 a body that stalls',
    fault: { kind: 'stall', at: 70_000 },
    code: 'adapter_unavailable',
    requests: 3,
  },
  {
    name: 'F12 extra bytes',
    fault: { kind: 'extra', bytes: 3 },
    code: 'adapter_checksum_mismatch',
    alert: 'corrupt_object',
    requests: 2,
  },
  {
    name: 'F12 a wrong content-length',
    fault: { kind: 'length', by: 5 },
    code: 'adapter_unavailable',
  },
  {
    name: 'T20 one flipped bit, once',
    fault: { kind: 'flip', at: 12_345 },
    times: 1,
    requests: 2,
  },
  {
    name: 'T20 one flipped bit, for good',
    fault: { kind: 'flip', at: 12_345 },
    code: 'adapter_checksum_mismatch',
    alert: 'corrupt_object',
    requests: 2,
  },
  { name: 'F13 a reset, once', fault: { kind: 'reset' }, times: 1, requests: 2 },
  { name: 'F13 resets for good', fault: { kind: 'reset' }, code: 'adapter_unavailable' },
];

for (const { name, fault, times = Number.POSITIVE_INFINITY, code, alert, requests } of CASES) {
  const outcome = code ?? 'it comes all the same';
  test(`${name}: ${outcome}; what is on the disk is served meanwhile`, { skip }, async (t) => {
    const { proxy, local, alerts, publish } = await setUp(t);
    const resident = await publish('resident');
    (await local.acquire(toResolved(resident))).release();
    const version = await publish('wanted');
    const seen = proxy.requests.length;
    proxy.script = firstOnes(times, fault, isWeights);
    const acquired = local.acquire(toResolved(version));
    const meanwhile = await local.acquire(toResolved(resident));
    assert.equal(meanwhile.tier, 'disk');
    if (code) {
      await assert.rejects(acquired, { code });
    } else {
      const { source, tier } = await acquired;
      assert.equal(tier, 'store');
      const { directory } = source.parts[0]!;
      assert.equal((await digestAdapterFiles(directory)).digest, version.manifest.digest);
    }
    assert.deepEqual(alerts.filter(Boolean), alert ? [alert] : []);
    const asked = proxy.requests.slice(seen).filter(isWeights).length;
    assert.ok(asked <= 3, `${asked} requests`);
    if (requests !== undefined) assert.equal(asked, requests);
    proxy.script = () => undefined;
    await (await local.acquire(toResolved(await publish('next')))).release();
    assert.ok((await proxy.openSockets()) <= 2, 'the broken connections are closed');
  });
}

test('a hundred requests for one cold adapter: each of its files is read once', {
  skip,
}, async (t) => {
  const { proxy, local, publish } = await setUp(t);
  const version = await publish('cold');
  proxy.script = () => ({ kind: 'latency', ms: 50 });
  const leases = await Promise.all(
    Array.from({ length: 100 }, () => local.acquire(toResolved(version))),
  );
  assert.equal(proxy.requests.length, 2);
  assert.ok(leases.every(({ tier }) => tier === 'store'));
});

test('F13 a server that is gone: five failures, then nobody asks until it may be back', {
  skip,
}, async (t) => {
  const { proxy, local, publish } = await setUp(t);
  const versions = await Promise.all(Array.from({ length: 7 }, (_, i) => publish(`version-${i}`)));
  proxy.script = () => ({ kind: 'reset' });
  for (const version of versions.slice(0, 5)) {
    await assert.rejects(local.acquire(toResolved(version)), { code: 'adapter_unavailable' });
  }
  const asked = proxy.requests.length;
  await assert.rejects(
    local.acquire(toResolved(versions[5]!)),
    (error: { retryAfterS: number }) => {
      assert.ok(error.retryAfterS > 1);
      return true;
    },
  );
  assert.equal(proxy.requests.length, asked);
});
