// The client of Kubernetes' API against a real server over HTTPS: retries, refusals, and trust in the cluster's own
// certificates only.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { type TestContext, test } from 'node:test';
import {
  ApiClient,
  type Cluster,
  ClusterRefused,
  ClusterUnavailable,
} from '../../src/cluster/api-client.ts';
import { temporaryFolder } from '../fixtures.ts';
import { FakeCluster, type FakeClusterOptions } from './fake-cluster.ts';

const manifest = {
  metadata: { name: 'lorikeet-1', labels: {}, annotations: {} },
  spec: { suspend: true, backoffLimit: 0, template: { spec: { containers: [] } } },
};

async function connect(
  t: TestContext,
  { tls, ...changes }: Partial<Cluster> & FakeClusterOptions = {},
): Promise<{ cluster: FakeCluster; api: ApiClient }> {
  const cluster = await FakeCluster.start(t, tls ? { tls } : {});
  cluster.admitsAtOnce = false;
  const readToken = async () => `${cluster.token}\n`;
  const place = { url: cluster.url, namespace: 'space', readToken, ...changes };
  const api = new ApiClient(place, { firstPauseMs: 1 });
  t.after(() => api.close());
  return { cluster, api };
}

/** A certificate for this machine's loopback address, and its key. */
function createCertificate(t: TestContext): { cert: string; key: string } | undefined {
  const dir = temporaryFolder(t);
  const [cert, key] = [path.join(dir, 'cert.pem'), path.join(dir, 'key.pem')];
  const subject = ['-subj', '/CN=cluster', '-addext', 'subjectAltName=IP:127.0.0.1'];
  const kind = ['-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes'];
  try {
    const files = ['-keyout', key, '-out', cert, '-days', '1'];
    execFileSync('openssl', ['req', ...kind, ...subject, ...files], { stdio: 'pipe' });
    return { cert: readFileSync(cert, 'utf8'), key: readFileSync(key, 'utf8') };
  } catch {
    t.skip('needs openssl');
    return undefined;
  }
}

test('a Job is created, found, and deleted; a missing one is not a failure', async (t) => {
  const { cluster, api } = await connect(t);
  assert.equal(await api.getJob('lorikeet-1'), undefined);
  await api.createJob(manifest, 'lorikeet-1');
  await api.createJob(manifest, 'lorikeet-1'); // as after an answer that was lost
  assert.equal(cluster.jobs.size, 1);
  assert.equal((await api.getJob('lorikeet-1'))?.spec.suspend, true);
  assert.deepEqual(await api.podsOf('lorikeet-1'), []);
  await api.deleteJob('lorikeet-1');
  await api.deleteJob('lorikeet-1');
  assert.equal(cluster.jobs.size, 0);
});

test('the server’s certificate has to be the cluster’s', async (t) => {
  const tls = createCertificate(t);
  const other = createCertificate(t);
  if (!tls || !other) return;
  const { api } = await connect(t, { tls, ca: tls.cert });
  await api.createJob(manifest, 'lorikeet-1');
  for (const ca of [other.cert, undefined]) {
    const { api, cluster } = await connect(t, { tls, ca });
    await assert.rejects(api.getJob('lorikeet-1'), /certificate/);
    assert.equal(cluster.seen.length, 0); // no token was sent
  }
});

test('an expired token is read again', async (t) => {
  const { cluster, api } = await connect(t);
  await api.createJob(manifest, 'lorikeet-1');
  const old = cluster.token;
  const tokens = [old, 'token-2'];
  const rotated = await connect(t, { url: cluster.url, readToken: async () => tokens.shift()! });
  cluster.token = 'token-2';
  assert.ok(await rotated.api.getJob('lorikeet-1'));
  assert.deepEqual(
    cluster.seen.slice(-2).map(({ token }) => token),
    [old, 'token-2'],
  );
});

test('a call is retried after any transient failure', async (t) => {
  const { cluster, api } = await connect(t);
  const faults = [
    { status: 500 },
    'cut',
    { status: 429, headers: { 'retry-after': '0' } },
    { status: 504, body: '<html>a proxy</html>' },
    { status: 409, body: JSON.stringify({ message: 'the object has been modified' }) },
  ] as const;
  const left = [...faults];
  cluster.fault = () => left.shift();
  await api.deleteJob('lorikeet-1');
  assert.equal(cluster.seen.length, faults.length + 1);
});

test('the client waits as long as the server asks', async (t) => {
  const { cluster, api } = await connect(t);
  const left = [{ status: 429, headers: { 'retry-after': '1' } }];
  cluster.fault = () => left.shift();
  const beginMs = performance.now();
  await api.getJob('lorikeet-1');
  assert.ok(performance.now() - beginMs >= 990);
});

test('after six failures the cluster is unavailable, with the reason', async (t) => {
  const { cluster, api } = await connect(t);
  cluster.fault = () => ({ status: 503, body: JSON.stringify({ message: 'etcd is away' }) });
  const error = await api.getJob('lorikeet-1').catch((error: unknown) => error);
  assert.ok(error instanceof ClusterUnavailable);
  assert.match(error.message, /GET: 503 etcd is away \(6 tries\)/);
  assert.equal(cluster.seen.length, 6);
});

test('a forbidden call fails at once', async (t) => {
  const { cluster, api } = await connect(t);
  const body = JSON.stringify({
    kind: 'Status',
    message: 'jobs.batch is forbidden: exceeded quota',
  });
  for (const status of [400, 403, 422]) {
    cluster.fault = () => ({ status, body });
    const error = await api.createJob(manifest, 'lorikeet-1').catch((error: unknown) => error);
    assert.ok(error instanceof ClusterRefused);
    assert.equal(error.message, `POST ${status} jobs.batch is forbidden: exceeded quota`);
  }
  assert.equal(cluster.seen.length, 3);
});

test('an answer that is too long or not from Kubernetes is a failure', async (t) => {
  const { cluster, api } = await connect(t);
  for (const body of ['', '<html>', '[]', '{"metadata": {}}']) {
    cluster.fault = () => ({ status: 200, body });
    await assert.rejects(api.getJob('lorikeet-1'), ClusterUnavailable);
  }
  cluster.fault = () => ({ status: 200, body: 'x'.repeat(5 * 2 ** 20) });
  await assert.rejects(api.getJob('lorikeet-1'), /too long/);
});

test('an aborted call ends with the reason', async (t) => {
  const { cluster, api } = await connect(t);
  cluster.fault = () => ({ status: 503 });
  const reason = new Error('asked to');
  await assert.rejects(api.getJob('lorikeet-1', { signal: AbortSignal.abort(reason) }), reason);
  const stop = new AbortController();
  cluster.fault = () => {
    stop.abort(reason);
    return 'cut';
  };
  await assert.rejects(api.getJob('lorikeet-1', { signal: stop.signal }), reason);
});
