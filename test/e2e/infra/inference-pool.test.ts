// The InferencePool of the chart, as the Gateway API Inference Extension's own types read it, and the contract that it
// stands for: pods whose /metrics its endpoint picker understands.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseAllDocuments } from 'yaml';
import { findPicker, runPicker } from '../endpoint-picker/picker.ts';
import { findTool, runTool } from './tools.ts';

interface Pool {
  readonly spec: {
    readonly selector: { readonly matchLabels: Readonly<Record<string, string>> };
    readonly targetPorts: readonly { readonly number: number }[];
    readonly endpointPickerRef: {
      readonly name: string;
      readonly port: { readonly number: number };
    };
  };
}

interface Deployment {
  readonly kind: string;
  readonly spec: {
    readonly template: {
      readonly metadata: { readonly labels: Readonly<Record<string, string>> };
      readonly spec: {
        readonly containers: { ports: { name: string; containerPort: number }[] }[];
      };
    };
  };
}

test('the pool is one by its own types, of the pods that the chart deploys', (t) => {
  const helm = findTool('helm');
  if ('reason' in helm) return t.skip(helm.reason);
  const picker = findPicker();
  if ('reason' in picker) return t.skip(picker.reason);
  const manifests = render(helm.file);
  const text = manifests.find(({ kind }) => kind === 'InferencePool')?.text;
  assert.ok(text);
  const { spec } = runPicker<Pool>(picker.file, ['pool'], text);
  assert.deepEqual(spec.endpointPickerRef.port, { number: 9002 });
  const deployment = manifests.find(({ kind }) => kind === 'Deployment')!.value as Deployment;
  const { metadata, spec: pod } = deployment.spec.template;
  for (const [name, value] of Object.entries(spec.selector.matchLabels)) {
    assert.equal(metadata.labels[name], value);
  }
  assert.deepEqual(
    spec.targetPorts.map(({ number }) => number),
    pod.containers[0]!.ports.filter(({ name }) => name === 'http').map(
      (port) => port.containerPort,
    ),
  );
  const metricsPort = pod.containers[0]!.ports.find(({ name }) => name === 'metrics');
  assert.equal(metricsPort?.containerPort, 9090);
  const misspelt = text.replace('targetPorts', 'targetPort');
  assert.throws(() => runPicker(picker.file, ['pool'], misspelt), /targetPort/);
});

function render(helm: string) {
  const { code, output } = runTool(helm, [
    ...['template', 'release', 'infra/helm/lorikeet', '--kube-version', '1.33'],
    ...['--set', 'inferencePool.enabled=true'],
  ]);
  assert.equal(code, 0, output);
  return parseAllDocuments(output).flatMap((document) => {
    const value = document.toJS();
    return value ? [{ kind: value.kind as string, value, text: document.toString() }] : [];
  });
}
