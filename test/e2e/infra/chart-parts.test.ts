// Parts of an installation that a schema does not check: what is scraped, scaled, let in and passed on.
import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { test } from 'node:test';
import { knownNames, metricNames } from '../../telemetry/infra-files.ts';
import {
  type Manifest,
  parse,
  render,
  type TrainerJob,
  tools,
  trainerJob,
  validate,
} from './chart.ts';
import { runTool } from './tools.ts';

test('metrics of a pod are scraped once, whatever Services it has', (t) => {
  const found = tools(t, 'helm');
  if (!found) return;
  const set = { modelRouter: { enabled: true }, serviceMonitor: { enabled: true } };
  const manifests = render(found.helm, undefined, set);
  const monitor = manifests.find(({ kind }) => kind === 'ServiceMonitor')!;
  const { matchLabels } = monitor.spec['selector'] as { matchLabels: Record<string, string> };
  const services = manifests.filter(({ kind }) => kind === 'Service');
  assert.equal(services.length, 3);
  const scraped = services.filter(({ metadata: { labels = {} } }) =>
    Object.entries(matchLabels).every(([name, value]) => labels[name] === value),
  );
  assert.deepEqual(
    scraped.map(({ metadata }) => metadata.name),
    ['release-lorikeet'],
  );
});

test('replicas are scaled by what waits and by what runs, so full servers are kept', (t) => {
  const found = tools(t, 'helm');
  if (!found) return;
  const manifests = render(found.helm, undefined, { autoscaling: { enabled: true } });
  const { spec } = manifests.find(({ kind }) => kind === 'ScaledObject')!;
  const triggers = spec['triggers'] as { metadata: { query: string; threshold: string } }[];
  const [waiting, busy] = triggers.map(({ metadata }) => metadata);
  assert.match(waiting!.query, /num_requests_waiting/);
  assert.match(busy!.query, /num_requests_running.* \/ avg\(lorikeet_kv_slots/);
  assert.equal(busy!.threshold, '0.75');
  for (const name of metricNames(triggers.map(({ metadata }) => metadata.query).join())) {
    assert.ok(knownNames().has(name), name);
  }
});

test('a variable comes from a value or from a secret, in servers and trainers', (t) => {
  const found = tools(t, 'helm', 'kubernetes-validate');
  if (!found) return;
  const valueFrom = { secretKeyRef: { name: 'keys', key: 'pepper' } };
  const env = { LORIKEET_KEY_PEPPER: { valueFrom }, LOG_LEVEL: 'info' };
  const jobs = { runner: 'kubernetes', env };
  const manifests = render(found.helm, undefined, { env, jobs });
  const verdict = validate(found['kubernetes-validate'], [...manifests, trainerJob(manifests)]);
  assert.equal(verdict.code, 0, verdict.output);
  const deployment = manifests.find(({ kind }) => kind === 'Deployment') as object as TrainerJob;
  for (const { spec } of [deployment, trainerJob(manifests)]) {
    const given = spec.template.spec.containers[0]!.env;
    assert.ok(given.some(({ name, value }) => name === 'LOG_LEVEL' && value === 'info'));
    const secret = given.find(({ name }) => name === 'LORIKEET_KEY_PEPPER');
    assert.deepEqual(secret, { name: 'LORIKEET_KEY_PEPPER', valueFrom });
  }
});

test("the router's configuration is the project's own, with the pods as its servers", (t) => {
  const found = tools(t, 'helm', 'kubernetes-validate', 'haproxy');
  if (!found) return;
  const set = { modelRouter: { enabled: true }, ingress: { enabled: true } };
  const manifests = render(found.helm, undefined, set);
  const verdict = validate(found['kubernetes-validate'], manifests);
  assert.equal(verdict.code, 0, verdict.output);
  assert.match(JSON.stringify(manifests.find(({ kind }) => kind === 'Ingress')), /-router"/);
  const isRouter = ({ kind, metadata }: Manifest) =>
    kind === 'ConfigMap' && metadata.name.endsWith('-router');
  const { data } = manifests.find(isRouter) as Manifest & { data: Record<string, string> };
  const text = data['haproxy.cfg']!;
  const original = readFileSync('infra/haproxy/haproxy.cfg', 'utf8');
  assert.ok(text.startsWith(original.slice(0, original.indexOf('\n  server '))));
  const folder = mkdtempSync(path.join(os.tmpdir(), 'router-'));
  t.after(() => rmSync(folder, { recursive: true }));
  const file = path.join(folder, 'haproxy.cfg');
  // Debian's HAProxy is older than this word.
  writeFileSync(file, text.replace(' hash-key addr', ''));
  const check = runTool(found.haproxy, ['-c', '-f', file]);
  assert.equal(check.code, 0, check.output);
});

test('the queues for trainers have the version that Kueue serves, and no namespace but the release’s', () => {
  const queues = parse(readFileSync('infra/kueue/queues.yaml', 'utf8'));
  const [, cluster, local] = queues;
  // Kueue serves v1beta2 since 0.15, and v1beta1 until 0.19.
  for (const { apiVersion } of queues) assert.equal(apiVersion, 'kueue.x-k8s.io/v1beta2');
  assert.equal(local!.spec['clusterQueue'], cluster!.metadata.name);
  assert.equal(local!.metadata.namespace, undefined);
  const { withinClusterQueue } = cluster!.spec['preemption'] as Record<string, string>;
  assert.equal(withinClusterQueue, 'LowerPriority');
});

test('the network lets in what answers: the server, or the proxy that Knative puts before it', (t) => {
  const found = tools(t, 'helm');
  if (!found) return;
  for (const [values, port] of [
    ['values-kind.yaml', 8080],
    ['values-gke.yaml', 8012],
  ] as const) {
    const policies: Manifest[] = render(found.helm, values).filter(
      ({ kind }) => kind === 'NetworkPolicy',
    );
    const ports: number[] = policies
      .flatMap(({ spec }) => (spec['ingress'] ?? []) as { ports: { port: number }[] }[])
      .flatMap((rule) => rule.ports.map((one) => one.port));
    assert.ok(ports.includes(port), `${values}: ${ports}`);
    assert.equal(ports.includes(8080), port === 8080);
  }
});
