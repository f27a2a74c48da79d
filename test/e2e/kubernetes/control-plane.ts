// Kubernetes' own API server and controllers over etcd, on loopback. There is no scheduler and no kubelet: `node.ts` is both.
//
//   const skip = prepareControlPlane();               // with LORIKEET_E2E_LONG it builds them (once, 12 minutes on 2 cores)
//   const api = await startControlPlane(t);           // an empty cluster; ends with the test
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { generateKeyPairSync, randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { temporaryFolder } from '../../fixtures.ts';
import { freePort } from '../../free-port.ts';
import { until } from '../../until.ts';
import { findTool } from '../infra/tools.ts';
import { KubeApi } from './api.ts';

const START_TIMEOUT_MS = 60_000;
/** What Deployments, Jobs, Services and accounts need, without cloud, volumes and the care for nodes. */
const CONTROLLERS = [
  'deployment disruption endpointslice garbage-collector job namespace',
  'replicaset root-ca-certificate-publisher serviceaccount ttl-after-finished',
].flatMap((names) => names.split(' ').map((name) => `${name}-controller`));

type Test = { after(fn: () => unknown): void };

/** For `skip`: false once the programs are there, else why they can't be had. */
export function prepareControlPlane(): string | false {
  if (!process.env['LORIKEET_E2E_LONG']) return 'LORIKEET_E2E_LONG is not set';
  for (const name of ['etcd', 'kubernetes'] as const) {
    const tool = findTool(name);
    if ('reason' in tool) return tool.reason;
  }
  return false;
}

export async function startControlPlane(t: Test): Promise<KubeApi> {
  const folder = temporaryFolder(t);
  let api: KubeApi | undefined;
  t.after(() => api?.close()); // before its programs end
  const [etcd, peers, port] = await Promise.all([freePort(), freePort(), freePort()]);
  const store = `http://127.0.0.1:${etcd}`;
  const url = `https://127.0.0.1:${port}`;
  const token = randomUUID();
  const file = (name: string, text: string): string => {
    writeFileSync(path.join(folder, name), text, { mode: 0o600 });
    return path.join(folder, name);
  };
  const keys = generateKeyPairSync('rsa', {
    modulusLength: 2048,
    publicKeyEncoding: { type: 'spki', format: 'pem' },
    privateKeyEncoding: { type: 'pkcs8', format: 'pem' },
  });
  const publicKey = file('accounts.pub', keys.publicKey);
  const privateKey = file('accounts.key', keys.privateKey);
  const tokens = file('tokens.csv', `${token},admin,admin,"system:masters"\n`);

  const peer = `http://127.0.0.1:${peers}`;
  run(t, fileOf('etcd'), [
    `--data-dir=${path.join(folder, 'etcd')}`,
    ...[`--listen-client-urls=${store}`, `--advertise-client-urls=${store}`],
    ...[`--listen-peer-urls=${peer}`, `--initial-advertise-peer-urls=${peer}`],
    ...[`--initial-cluster=default=${peer}`, '--unsafe-no-fsync', '--logger=zap'],
  ]);
  const certificates = path.join(folder, 'certificates');
  const programs = fileOf('kubernetes');
  const server = run(t, path.join(programs, 'kube-apiserver'), [
    `--etcd-servers=${store}`,
    ...['--bind-address=127.0.0.1', `--secure-port=${port}`, `--cert-dir=${certificates}`],
    ...['--endpoint-reconciler-type=none', '--service-cluster-ip-range=10.96.0.0/16'],
    ...['--authorization-mode=RBAC', `--token-auth-file=${tokens}`],
    '--service-account-issuer=https://kubernetes.default.svc',
    `--service-account-key-file=${publicKey}`,
    `--service-account-signing-key-file=${privateKey}`,
  ]);
  // It makes its own certificate, and the authority's comes with it.
  const certificate = path.join(certificates, 'apiserver.crt');
  const connect = async () => {
    const found = new KubeApi({ url, ca: readFileSync(certificate, 'utf8'), token });
    await found.get('/readyz').catch((error) => {
      found.close();
      throw error;
    });
    return found;
  };
  const attempt = () => {
    assert.equal(server.child.exitCode, null, server.output);
    return connect().catch(() => undefined);
  };
  api = await until('the API server', attempt, { deadlineMs: START_TIMEOUT_MS, pollMs: 100 });
  const cluster = { server: url, 'certificate-authority': certificate };
  const config = {
    apiVersion: 'v1',
    kind: 'Config',
    clusters: [{ name: 'test', cluster }],
    users: [{ name: 'admin', user: { token } }],
    contexts: [{ name: 'test', context: { cluster: 'test', user: 'admin' } }],
    'current-context': 'test',
  };
  run(t, path.join(programs, 'kube-controller-manager'), [
    `--kubeconfig=${file('kubeconfig', JSON.stringify(config))}`,
    ...['--leader-elect=false', '--secure-port=0', `--controllers=${CONTROLLERS.join(',')}`],
    ...[`--service-account-private-key-file=${privateKey}`, `--root-ca-file=${certificate}`],
  ]);
  return api;
}

function fileOf(name: 'etcd' | 'kubernetes'): string {
  const tool = findTool(name);
  if ('reason' in tool) throw new Error(tool.reason);
  return tool.file;
}

interface Running {
  readonly child: ChildProcess;
  /** The end of its log. */
  output: string;
}

const KEPT_LOG = 4_000;

function run(t: Test, program: string, args: readonly string[]): Running {
  const child = spawn(program, args, { stdio: ['ignore', 'ignore', 'pipe'] });
  const running: Running = { child, output: '' };
  child.stderr.on('data', (chunk) => {
    running.output = `${running.output}${chunk}`.slice(-KEPT_LOG);
  });
  t.after(async () => {
    if (child.exitCode !== null || child.signalCode !== null) return;
    child.kill('SIGKILL');
    await once(child, 'exit');
  });
  return running;
}
