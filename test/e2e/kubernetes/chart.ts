// The chart in a cluster with what it needs: an S3 server, secrets, a namespace that admits only restricted pods, and a node
// whose images are this program.
import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { createS3Store } from '../../../adapters/store/s3.ts';
import type { ObjectStore } from '../../../adapters/store/store.ts';
import { temporaryFolder } from '../../fixtures.ts';
import { execute } from '../execute.ts';
import { findTool } from '../infra/tools.ts';
import { runLorikeet } from '../program.ts';
import { OPTIONS } from '../s3-driver.ts';
import { prepareS3Server, type S3Server, startS3Server } from '../s3-server.ts';
import type { KubeApi } from './api.ts';
import { prepareControlPlane, startControlPlane } from './control-plane.ts';
import { ProcessNode } from './node.ts';

const CHART = 'infra/helm/lorikeet';
const PREFIX = 'production';
const COMMAND = [process.execPath, path.resolve('bin/lorikeet.mjs')];
const IMAGES = new Map([
  ['lorikeet:0.1.0', [...COMMAND, 'serve']],
  ['lorikeet:0.2.0', [...COMMAND, 'serve']],
]);

export const NAMESPACE = 'space';
/** Of the Deployment, the Service and the account. */
export const RELEASE = 'demo-lorikeet';

type Test = { after(fn: () => unknown): void };

export interface ChartCluster {
  readonly api: KubeApi;
  readonly node: ProcessNode;
  /** What the servers and trainers read and write. */
  readonly store: ObjectStore;
  /** Of the tenant `acme`. */
  readonly key: string;
  /** Installs the chart, or upgrades it, with these values besides those that the cluster asks for. */
  apply(values: object): Promise<void>;
}

/** For `skip`: false if everything is there, else what is missing. */
export async function prepareChart(): Promise<string | false> {
  const control = prepareControlPlane();
  if (control) return control;
  const helm = findTool('helm');
  return 'reason' in helm ? helm.reason : prepareS3Server();
}

export async function startChartCluster(t: Test): Promise<ChartCluster> {
  const [api, s3] = await Promise.all([startControlPlane(t), startS3Server(t)]);
  const enforce = { 'pod-security.kubernetes.io/enforce': 'restricted' };
  await api.post('/api/v1/namespaces', { metadata: { name: NAMESPACE, labels: enforce } });
  const home = temporaryFolder(t);
  const made = await runLorikeet(['keys', 'create', '--tenant', 'acme'], home);
  assert.equal(made.code, 0, made.error);
  const { accessKeyId, secretAccessKey } = s3.credentials;
  const SECRETS = {
    'lorikeet-keys': { 'keys.json': readFileSync(path.join(home, 'keys.json'), 'utf8') },
    'lorikeet-s3': { AWS_ACCESS_KEY_ID: accessKeyId, AWS_SECRET_ACCESS_KEY: secretAccessKey },
  };
  for (const [name, stringData] of Object.entries(SECRETS)) {
    await api.post(`/api/v1/namespaces/${NAMESPACE}/secrets`, { metadata: { name }, stringData });
  }
  return {
    api,
    node: await ProcessNode.start(t, api, IMAGES),
    store: createS3Store({ bucket: s3.bucket, prefix: PREFIX }, { ...OPTIONS, connection: s3 }),
    key: made.out.trim(),
    apply: createHelm(t, api, s3),
  };
}

function createHelm(t: Test, api: KubeApi, s3: S3Server): ChartCluster['apply'] {
  const helm = findTool('helm');
  assert('file' in helm);
  const folder = temporaryFolder(t);
  const [authority, file] = [path.join(folder, 'ca.crt'), path.join(folder, 'values.json')];
  writeFileSync(authority, api.ca);
  const common = {
    base: { model: path.resolve('models/toy') },
    store: {
      url: `s3://${s3.bucket}/${PREFIX}`,
      endpoint: s3.endpoint,
      pathStyle: true,
      credentialsSecret: 'lorikeet-s3',
    },
    engine: { weights: 'f32', threads: 1 },
    env: { LOG_LEVEL: 'error' },
  };
  const env = { PATH: process.env['PATH'], HOME: folder };
  const to = ['--kube-apiserver', api.url, '--kube-token', api.token, '--kube-ca-file', authority];
  const args = ['upgrade', 'demo', CHART, '--install', '--namespace', NAMESPACE, '--values', file];
  return async (values) => {
    writeFileSync(file, JSON.stringify({ ...common, ...values }));
    await execute(helm.file, [...args, ...to], { env });
  };
}
