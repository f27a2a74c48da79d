// A trainer's Job has the template's fields, plus those that the runner relies on.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  jobNameOf,
  parseTrainerTemplate,
  trainerManifest,
  trainerThreads,
} from '../../src/cluster/kubernetes-job.ts';
import { ConfigError } from '../../src/common/errors.ts';

const GIB = 2 ** 30;
const work = { tenant: 'acme', jobId: 'ftjob-AbC', number: 7, prefix: 'acme/.jobs/x/run/pods/7/' };
const container = { name: 'trainer', image: 'lorikeet:1', env: [{ name: 'A', value: 'b' }] };

const template = (changes: object = {}, pod: object = {}) =>
  parseTrainerTemplate(
    JSON.stringify({ spec: { ...pod, containers: [{ ...container, ...changes }] } }),
    'T',
  );

interface Rendered {
  metadata: { name: string; labels: Record<string, string> };
  spec: {
    suspend: boolean;
    backoffLimit: number;
    parallelism: number;
    completions: number;
    template: {
      spec: {
        restartPolicy: string;
        terminationGracePeriodSeconds: number;
        containers: { command: string[]; args: string[]; env: object[]; resources: object }[];
      };
    };
  };
}

const render = (
  changes: { container?: object; pod?: object; work?: object; queue?: string } = {},
): Rendered => {
  const { container, pod, queue = 'training' } = changes;
  const options = { template: template(container, pod), queue: queue || undefined };
  return trainerManifest({ ...work, ...changes.work }, options) as Rendered;
};

test('the pod runs the template’s image on its attempt, once', () => {
  const { metadata, spec } = render();
  assert.equal(metadata.name, jobNameOf(work));
  const [trainer] = spec.template.spec.containers;
  assert.deepEqual(trainer!.command, ['node', 'bin/lorikeet.mjs']);
  assert.deepEqual(trainer!.args, ['train-job', work.prefix]);
  assert.deepEqual(trainer!.env, container.env);
  assert.equal(spec.template.spec.restartPolicy, 'Never');
  assert.deepEqual([spec.backoffLimit, spec.parallelism, spec.completions], [0, 1, 1]);
});

test('with a queue it waits to be admitted; without one it starts', () => {
  const { metadata, spec } = render();
  assert.equal(metadata.labels['kueue.x-k8s.io/queue-name'], 'training');
  assert.equal(spec.suspend, true);
  const free = render({ queue: '' });
  assert.deepEqual([free.metadata.labels, free.spec.suspend], [{}, false]);
});

test('memory is the plan’s peak with a margin, as request and limit; the template has the rest', () => {
  const resources = {
    requests: { cpu: '2', memory: '1Gi' },
    limits: { memory: '1Gi', 'gpu/x': 1 },
  };
  const resourcesOf = (changes: object) =>
    render({ container: { resources }, ...changes }).spec.template.spec.containers[0]!.resources;
  assert.deepEqual(resourcesOf({ work: { memoryBytes: 4 * GIB } }), {
    requests: { cpu: '2', memory: '5632Mi' },
    limits: { memory: '5632Mi', 'gpu/x': 1 },
  });
  assert.deepEqual(resourcesOf({}), resources);
});

test('its grace is long enough for a step and its checkpoint, unless the template has its own', () => {
  const graceOf = (pod: object) => render({ pod }).spec.template.spec.terminationGracePeriodSeconds;
  assert.equal(graceOf({}), 300);
  assert.equal(graceOf({ terminationGracePeriodSeconds: 60 }), 60);
});

test('names fit Kubernetes, and differ by tenant, job and attempt', () => {
  const others = [{}, { tenant: 'b' }, { jobId: 'ftjob-abc' }, { number: 8 }];
  const names = others.map((other) => jobNameOf({ ...work, ...other }));
  assert.equal(new Set(names).size, others.length);
  const longest = jobNameOf({ ...work, number: 999_999_999 });
  for (const name of [...names, longest]) assert.match(name, /^[a-z]([a-z0-9-]{0,61}[a-z0-9])?$/);
});

test('threads are the cores that the pod asks for', () => {
  const threads = (resources: object) => trainerThreads(template({ resources }));
  assert.equal(threads({ requests: { cpu: '4' } }), 4);
  assert.equal(threads({ requests: { cpu: 3 } }), 3);
  assert.equal(threads({ requests: { cpu: '2500m' } }), 2);
  assert.equal(threads({ requests: { cpu: '500m' } }), 1);
  assert.equal(threads({ limits: { cpu: '2' } }), 2);
  assert.equal(threads({}), 1);
});

test('a wrong template is refused with its field', () => {
  const refused = (text: string, fault: RegExp) =>
    assert.throws(
      () => parseTrainerTemplate(text, 'LORIKEET_JOBS_TEMPLATE'),
      (error) => error instanceof ConfigError && fault.test(error.faults.join()),
    );
  refused('spec:', /^LORIKEET_JOBS_TEMPLATE must be JSON/);
  refused('{}', /^LORIKEET_JOBS_TEMPLATE: spec: /);
  refused('{"spec": {"containers": []}}', /^LORIKEET_JOBS_TEMPLATE: spec\.containers: /);
  refused('{"spec": {"containers": [{}]}}', /spec\.containers\.0\.image: /);
});
