// Every deployment in infra/ fits its own memory limit: the settings that it gives the server are planned as `serve` plans them.
import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { test } from 'node:test';
import { parse, parseAllDocuments } from 'yaml';
import { settingsFor } from '../../src/compose/base-plan.ts';
import { planMemory } from '../../src/engine/memory/memory-budget.ts';
import { parseDecoderConfig } from '../../src/model/config.ts';
import { type Environment, loadConfig, servesTinker } from '../../src/settings/config.ts';
import { SMOLLM2 } from '../fixtures.ts';

const CHART = 'infra/helm/lorikeet';
const UNITS: Readonly<Record<string, number>> = { Mi: 2 ** 20, Gi: 2 ** 30 };

interface Deployment {
  readonly file: string;
  readonly env: Environment;
  readonly bytes: number;
  /** The requests that the platform sends to a server at the same time. Absent: as many as there are. */
  readonly requests?: number;
}

interface Container {
  readonly env: readonly { readonly name: string; readonly value?: string }[];
  readonly resources: { readonly limits: { readonly memory: string } };
}

const read = (file: string) => readFileSync(file, 'utf8');
// biome-ignore lint/suspicious/noExplicitAny: documents of many kinds
const documents = (file: string) => parseAllDocuments(read(file)).map((one) => one.toJS() as any);

function bytesOf(quantity: string): number {
  const [, digits, unit] = /^(\d+)(Mi|Gi)$/.exec(quantity)!;
  return Number(digits) * UNITS[unit!]!;
}

function ofContainer(file: string, { env, resources }: Container, requests?: number): Deployment {
  return {
    file,
    env: Object.fromEntries(env.map(({ name, value }) => [name, value])),
    bytes: bytesOf(resources.limits.memory),
    ...(requests !== undefined && { requests }),
  };
}

type Values = Record<string, unknown>;

/** Merges values as Helm does: objects member by member, anything else as a whole. */
function merge(defaults: Values, values: Values): Values {
  const isObject = (value: unknown): value is Values =>
    typeof value === 'object' && value !== null && !Array.isArray(value);
  const merged = Object.entries(values).map(([name, value]) => {
    const own = defaults[name];
    return [name, isObject(own) && isObject(value) ? merge(own, value) : value];
  });
  return { ...defaults, ...Object.fromEntries(merged) };
}

/** The chart sets a variable of `engine` unless the value is 0 or empty. */
function ofValues(name: string): Deployment {
  const defaults = parse(read(`${CHART}/values.yaml`));
  const { mode, engine, env, resources, jobs } = merge(
    defaults,
    parse(read(`${CHART}/${name}`)),
  ) as {
    mode: string;
    engine: Record<string, string | number>;
    env: Record<string, string>;
    resources: Container['resources'];
    jobs: { runner: string; memory: string };
  };
  const template = read(`${CHART}/templates/_helpers.tpl`);
  const direct = template.matchAll(/name: (\w+), value: \{\{ \.Values\.engine\.(\w+)/g);
  const optional = template.matchAll(/with \.Values\.engine\.(\w+) \}\}\n- \{ name: (\w+)/g);
  const variables = [
    ...Array.from(direct, ([, variable, value]) => [variable!, value!] as const),
    ...Array.from(optional, ([, value, variable]) => [variable!, value!] as const),
  ];
  assert.deepEqual(variables.map(([, value]) => value).sort(), Object.keys(engine).sort());
  const given = variables.filter(([, value]) => engine[value]);
  const isFixed = engine['slots'] || engine['maxSeq'] || engine['adapterCache'];
  const [, unfixed] = /ternary "" "(\w+)" \(not \(empty \$isFixed/.exec(template)!;
  const trainMemory = jobs.memory || (isFixed ? '' : unfixed!);
  const container = {
    env: [
      ...given.map(([variable, value]) => ({ name: variable, value: `${engine[value]}` })),
      { name: 'LORIKEET_TRAIN_RUNNER', value: jobs.runner },
      ...(jobs.runner === 'process' ? [{ name: 'LORIKEET_TRAIN_MEMORY', value: trainMemory }] : []),
    ],
    resources,
  };
  const [, unset] = /containerConcurrency: .* default (\d+)/.exec(
    read(`${CHART}/templates/knative-service.yaml`),
  )!;
  const requests = Number(engine['slots'] || unset);
  const deployment = ofContainer(name, container, mode === 'knative' ? requests : undefined);
  return { ...deployment, env: { ...deployment.env, ...env } };
}

function ofCloudRun(): Deployment {
  const file = 'infra/cloud-run/service.yaml';
  const [{ spec }] = documents(file);
  const { containers, containerConcurrency } = spec.template.spec;
  return ofContainer(file, containers[0], containerConcurrency);
}

function ofKserve(): Deployment {
  const file = 'infra/kserve/serving-runtime.yaml';
  const [{ spec }] = documents(file);
  return ofContainer(file, spec.containers[0]);
}

function ofLambda(): Deployment {
  const file = 'infra/aws-lambda/template.yaml';
  const tag = (name: string) => ({
    tag: name,
    resolve: (text: string) => text.replace(/\$\{\w+\}/g, 'name'),
  });
  const customTags = ['!Ref', '!Sub', '!GetAtt'].map(tag);
  const { MemorySize, Environment } = parse(read(file), { customTags }).Resources.Server.Properties;
  return { file, env: Environment.Variables, bytes: MemorySize * UNITS['Mi']!, requests: 1 };
}

const VALUES = readdirSync(CHART).filter((file) => /^values(-.*)?\.yaml$/.test(file));
const DEPLOYMENTS = [...VALUES.map(ofValues), ofCloudRun(), ofKserve(), ofLambda()];
/** A job with 8 rows of 512 tokens at a time. */
const TRAINER_BYTES = 1.6e9;
const BASE = parseDecoderConfig(SMOLLM2);

for (const { file, env, bytes, requests } of DEPLOYMENTS) {
  test(`the settings of ${file} fit into its memory limit, and into each other`, () => {
    assert.ok(VALUES.length >= 4, `${VALUES}`);
    const config = loadConfig({}, { HOME: '/', ...env });
    const limit = { bytes, source: file };
    const { settings } = settingsFor(BASE, config, limit);
    const plan = planMemory(BASE, { ...settings, hasReservedSlots: true }, limit);
    const { slots, maxSeqLength, budget } = plan;
    assert.ok(maxSeqLength >= 2048, `${maxSeqLength} tokens`);
    // More requests than slots would wait in one server while another one could be started.
    assert.ok(slots >= (requests ?? 8), `${slots} slots for ${requests} requests`);
    const left = budget.parts.trainers;
    assert.ok(!servesTinker(config) || left >= TRAINER_BYTES, `${left} bytes for a trainer`);
  });
}
