import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { pathToFileURL } from 'node:url';
import { loadConfig } from '../../../src/settings/config.ts';
import {
  CHART,
  KUBERNETES,
  type Manifest,
  parse,
  render,
  tools,
  trainerJob,
  validate,
} from './chart.ts';
import { runTool } from './tools.ts';

const VALUES = [undefined, ...readdirSync(CHART).filter((file) => /^values-.*\.yaml$/.test(file))];

/** The pod of a Knative service as that of a Deployment, for which there are schemas. */
function asDeployment({ metadata, spec }: Manifest): object {
  const { template } = spec as { template: { spec: Record<string, unknown> } };
  const { containerConcurrency: _1, timeoutSeconds: _2, ...pod } = template.spec;
  const labels = { app: metadata.name };
  return {
    apiVersion: 'apps/v1',
    kind: 'Deployment',
    metadata,
    spec: {
      selector: { matchLabels: labels },
      template: { metadata: { labels }, spec: pod },
    },
  };
}

const isKnative = ({ apiVersion, kind }: Manifest) =>
  kind === 'Service' && apiVersion.startsWith('serving.knative.dev/');

for (const values of VALUES) {
  test(`the chart is valid with ${values ?? 'its own values'}`, (t) => {
    const found = tools(t, 'helm', 'kubernetes-validate');
    if (!found) return;
    const args = values === undefined ? [] : ['--values', path.join(CHART, values)];
    const lint = runTool(found.helm, ['lint', '--strict', CHART, ...args]);
    assert.equal(lint.code, 0, lint.output);
    const manifests = render(found.helm, values);
    const plain = manifests.map((manifest) =>
      isKnative(manifest) ? asDeployment(manifest) : manifest,
    );
    const { code, output } = validate(found['kubernetes-validate'], plain);
    assert.equal(code, 0, output);
  });
}

for (const values of VALUES.filter((file) => file !== undefined)) {
  test(`the Job that a server makes of the trainers' pod is valid with ${values}`, (t) => {
    const found = tools(t, 'helm', 'kubernetes-validate');
    if (!found) return;
    const manifests = render(found.helm, values);
    const job = trainerJob(manifests);
    const { code, output } = validate(found['kubernetes-validate'], [job]);
    assert.equal(code, 0, output);
    const { serviceAccountName, containers } = job.spec.template.spec;
    const accounts = manifests.filter(({ kind }) => kind === 'ServiceAccount');
    assert.ok(accounts.some(({ metadata }) => metadata.name === serviceAccountName));
    // As the program reads them: each is a setting, and no secret is among them.
    const env = Object.fromEntries(containers[0]!.env.map(({ name, value }) => [name, value]));
    assert.equal(loadConfig({}, env).store, env['LORIKEET_STORE']);
    assert.ok(!JSON.stringify(job).includes('keys'));
  });
}

test('a misspelt field of the trainers’ pod is found', (t) => {
  const found = tools(t, 'helm', 'kubernetes-validate');
  if (!found) return;
  const text = JSON.stringify(trainerJob(render(found.helm, 'values-kind.yaml')));
  const wrong = JSON.parse(text.replace('"onPodConditions":', '"onPodCondition":'));
  assert.notEqual(validate(found['kubernetes-validate'], [wrong]).code, 0);
});

test('a misspelt field of a pod is found', (t) => {
  const found = tools(t, 'helm', 'kubernetes-validate');
  if (!found) return;
  const text = JSON.stringify(render(found.helm, 'values-gke.yaml').find(isKnative));
  const wrong = asDeployment(JSON.parse(text.replace('"image":', '"imag":')));
  const { code, output } = validate(found['kubernetes-validate'], [wrong]);
  assert.notEqual(code, 0);
  assert.match(output, /imag/);
});

/** Values that the chart refuses, and what the refusal names. */
const REFUSED: readonly (readonly [string, RegExp])[] = [
  ['engine.slot=3', /slot/],
  ['image.digest=latest', /digest/],
  ['env.A.value=1', /valueFrom is required/],
  ['httpRoute.enabled=true', /parentRefs/],
  ['autoscaling.enabled=true,autoscaling.minReplicas=0', /nothing would ever start one/],
  ['modelRouter.enabled=true,inferencePool.enabled=true', /Use one of them/],
  ['mode=knative,autoscaling.minReplicas=0', /takes its fine-tuning jobs with it/],
];

for (const [values, reason] of REFUSED) {
  test(`the chart refuses ${values}`, (t) => {
    const found = tools(t, 'helm');
    if (!found) return;
    const { code, output } = runTool(found.helm, [
      ...['template', 'release', CHART, '--kube-version', KUBERNETES, '--set', values],
    ]);
    assert.notEqual(code, 0);
    assert.match(output, reason);
  });
}

test('every optional value reaches the pod', (t) => {
  const found = tools(t, 'helm', 'kubernetes-validate');
  if (!found) return;
  const digest = `sha256:${'0'.repeat(64)}`;
  const set = {
    image: { digest },
    podLabels: { team: 'models' },
    affinity: { nodeAffinity: {} },
    priorityClassName: 'serving',
    runtimeClassName: 'nvidia',
    engine: { provider: 'cuda' },
    extraVolumes: [{ name: 'certificates', configMap: { name: 'ca' } }],
    extraVolumeMounts: [{ name: 'certificates', mountPath: '/etc/ca' }],
    networkPolicy: { extraPorts: [4318] },
    limits: { urlSecret: { name: 'redis' }, port: 6380 },
    ingress: { enabled: true, className: 'nginx', host: 'models.example.org', tlsSecret: 'tls' },
    gc: { enabled: true, args: ['--grace', '48'] },
  };
  const { code, output } = runTool(found.helm, [
    ...['template', 'release', CHART, '--kube-version', KUBERNETES],
    ...Object.entries(set).flatMap(([name, value]) => [
      '--set-json',
      `${name}=${JSON.stringify(value)}`,
    ]),
  ]);
  assert.equal(code, 0, output);
  const manifests = parse(output);
  const verdict = validate(found['kubernetes-validate'], manifests);
  assert.equal(verdict.code, 0, verdict.output);
  const deployment = JSON.stringify(manifests.find(({ kind }) => kind === 'Deployment'));
  const inPod = [digest, 'models', 'nodeAffinity', 'serving', 'nvidia', 'cuda', '/etc/ca'];
  for (const text of [...inPod, '"LORIKEET_LIMITS"', '{"name":"redis","key":"url"}']) {
    assert.ok(deployment.includes(text), text);
  }
  for (const port of [4318, 6380]) assert.match(output, new RegExp(`port: ${port}`));
  assert.ok(['Ingress', 'CronJob'].every((kind) => manifests.some((one) => one.kind === kind)));
});

test('custom resources obey the schemas of their projects', async (t) => {
  const found = tools(t, 'helm', 'kubernetes-models');
  if (!found) return;
  const manifests = VALUES.flatMap((values) => render(found.helm, values)).filter(
    ({ apiVersion }) =>
      /^(keda\.sh|serving\.knative\.dev|monitoring\.coreos\.com)\//.test(apiVersion),
  );
  const kinds = new Set(manifests.map(({ kind }) => kind));
  assert.deepEqual([...kinds].sort(), [
    'PrometheusRule',
    'ScaledObject',
    'Service',
    'ServiceMonitor',
  ]);
  for (const manifest of manifests) {
    const Model = await customResource(found['kubernetes-models'], manifest);
    new Model(manifest).validate();
  }
});

type Model = new (manifest: object) => { validate(): void };

/** Their newer packages are modules of ECMAScript only, the others CommonJS, whose exports Node may only find in `default`. */
async function customResource(kedaFolder: string, { apiVersion, kind }: Manifest): Promise<Model> {
  const group = apiVersion.split('/')[0]!;
  const packages: Record<string, string> = {
    'keda.sh': 'keda',
    'serving.knative.dev': 'knative',
    'monitoring.coreos.com': 'prometheus-operator',
  };
  const folder = path.join(path.dirname(kedaFolder), packages[group]!);
  const file = path.join(folder, apiVersion, `${kind}.js`);
  const found = await import(pathToFileURL(file).href);
  return found[kind] ?? found.default[kind];
}

interface Container {
  readonly securityContext: Readonly<Record<string, unknown>>;
}

test('plain manifests for KServe and Cloud Run hold valid pods', (t) => {
  const found = tools(t, 'kubernetes-validate');
  if (!found) return;
  const read = (file: string) => parse(readFileSync(`infra/${file}`, 'utf8'));
  const [runtime, service] = read('kserve/serving-runtime.yaml');
  const { containers, volumes } = runtime!.spec;
  const asPod = {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name: 'pod' },
    spec: { containers, volumes },
  };
  const cloudRun = read('cloud-run/service.yaml').map(asDeployment);
  const { code, output } = validate(found['kubernetes-validate'], [asPod, ...cloudRun]);
  assert.equal(code, 0, output);
  const predictor = service!.spec['predictor'] as { model: { runtime: string } };
  assert.equal(predictor.model.runtime, runtime!.metadata.name);
  const { securityContext } = (containers as Container[])[0]!;
  const { runAsNonRoot, readOnlyRootFilesystem } = securityContext;
  assert.ok(runAsNonRoot && readOnlyRootFilesystem);
});
