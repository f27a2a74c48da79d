// Renders the chart, and validates manifests, for tests that look at what an installation would be.
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import type { TestContext } from 'node:test';
import { parseAllDocuments } from 'yaml';
import { parseTrainerTemplate, trainerManifest } from '../../../src/cluster/kubernetes-job.ts';
import { findTool, runTool, type Verdict } from './tools.ts';

export const CHART = 'infra/helm/lorikeet';
/** The oldest version that the chart says it works on is 1.27; the validator's newest schemas are stricter. */
export const KUBERNETES = '1.33';
export interface Manifest {
  readonly apiVersion: string;
  readonly kind: string;
  readonly metadata: {
    readonly name: string;
    readonly labels?: Readonly<Record<string, string>>;
    readonly namespace?: string;
  };
  readonly spec: Record<string, unknown>;
}

/** The tools that a test needs, or undefined after it was skipped. */
export function tools<N extends Parameters<typeof findTool>[0]>(t: TestContext, ...names: N[]) {
  const found = names.map((name) => [name, findTool(name)] as const);
  const missing = found.flatMap(([, tool]) => ('reason' in tool ? [tool.reason] : []));
  if (missing.length === 0) {
    return Object.fromEntries(
      found.map(([name, tool]) => [name, (tool as { file: string }).file]),
    ) as Record<N, string>;
  }
  t.skip(missing.join('; '));
  return undefined;
}

export function render(helm: string, values: string | undefined, set: object = {}): Manifest[] {
  const args = values === undefined ? [] : ['--values', path.join(CHART, values)];
  for (const entry of Object.entries(set)) {
    args.push('--set-json', `${entry[0]}=${JSON.stringify(entry[1])}`);
  }
  const { code, output } = runTool(helm, [
    ...['template', 'release', CHART, '--kube-version', KUBERNETES, '--namespace', 'space'],
    ...args,
  ]);
  assert.equal(code, 0, output);
  return parse(output);
}

export function parse(text: string): Manifest[] {
  return parseAllDocuments(text).flatMap((document) => document.toJS() ?? []);
}

/** Strictly, an unknown field is a fault. */
export function validate(validator: string, manifests: readonly unknown[]): Verdict {
  const folder = mkdtempSync(path.join(os.tmpdir(), 'manifests-'));
  const file = path.join(folder, 'all.yaml');
  try {
    writeFileSync(file, manifests.map((manifest) => JSON.stringify(manifest)).join('\n---\n'));
    return runTool(validator, ['--strict', '--quiet', '--no-warn', file]);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

export interface TrainerJob {
  readonly spec: {
    readonly template: {
      readonly spec: {
        readonly serviceAccountName: string;
        readonly containers: readonly {
          readonly env: readonly { readonly name: string; readonly value: string }[];
        }[];
      };
    };
  };
}

/** As the runner makes it, of what the chart gives the server. */
export function trainerJob(manifests: readonly Manifest[]): TrainerJob {
  const config = manifests.find(
    ({ kind, metadata }) => kind === 'ConfigMap' && metadata.name.endsWith('-trainer'),
  ) as Manifest & { readonly data: Readonly<Record<string, string>> };
  const template = parseTrainerTemplate(config.data['pod.json']!, 'pod.json');
  const prefix = 'acme/.jobs/ftjob-1/run/pods/000000001/';
  const work = { tenant: 'acme', jobId: 'ftjob-1', number: 1, prefix, memoryBytes: 2 ** 32 };
  return trainerManifest(work, { template, queue: 'training' }) as TrainerJob;
}
