// The Kubernetes Job of an attempt: its manifest, and what its status means for a run. The cluster's operator writes a template
// with the image, environment, service account and volumes of trainer pods; the runner adds the settings that it relies on.
// Pure.
import { createHash } from 'node:crypto';
import { z } from 'zod';
import { ConfigError } from '../common/errors.ts';
import type { Fault } from '../contracts/training-messages.ts';
import type { KubernetesJob, KubernetesPod } from './api-client.ts';

const containerSchema = z.looseObject({
  image: z.string().min(1),
  command: z.array(z.string()).optional(),
  resources: z
    .looseObject({
      requests: z.record(z.string(), z.union([z.string(), z.number()])).optional(),
      limits: z.record(z.string(), z.union([z.string(), z.number()])).optional(),
    })
    .optional(),
});

const templateSchema = z.looseObject({
  metadata: z.looseObject({ labels: z.record(z.string(), z.string()).optional() }).optional(),
  spec: z.looseObject({
    /** The first container runs the trainer. */
    containers: z.array(containerSchema).min(1),
    terminationGracePeriodSeconds: z.int().min(1).optional(),
  }),
});

/** A pod template, as in `spec.template` of a Job. */
export type TrainerTemplate = z.infer<typeof templateSchema>;

/** Parses the template. Throws a `ConfigError` that names the invalid field. `name` is the setting's. */
export function parseTrainerTemplate(text: string, name: string): TrainerTemplate {
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch {
    throw new ConfigError(`${name} must be JSON.`);
  }
  const result = templateSchema.safeParse(json);
  if (result.success) return result.data;
  const { path, message } = result.error.issues[0]!;
  throw new ConfigError(`${name}: ${path.join('.') || 'template'}: ${message}`);
}

/** The program in our own image. A template may name a different one. */
const COMMAND = ['node', 'bin/lorikeet.mjs'];
/** Enough for a step of a large model, its checkpoint, and the upload. */
const GRACE_SECONDS = 300;
/** Leaves time to inspect a Job that ended. Its results are in the store. */
const TTL_SECONDS = 3600;
/** The planner's estimate is accurate to 20%. The pod's own process and its buffers come on top. */
const MEMORY_FACTOR = 1.25;
const EXTRA_MEMORY = 512 * 2 ** 20;
const MEMORY_GRAIN = 64 * 2 ** 20;
/** A Job with this label waits until Kueue admits it. */
const QUEUE_LABEL = 'kueue.x-k8s.io/queue-name';

/** The attempt that a Job belongs to. */
interface AttemptRun {
  readonly tenant: string;
  readonly jobId: string;
  readonly number: number;
  /** The attempt's part of the store, which is the pod's argument. */
  readonly prefix: string;
  /** Planned peak memory in bytes. Absent: the template decides. */
  readonly memoryBytes?: number | undefined;
}

/** Returns the Job's name. Job ids may differ only in case, so it contains a hash. */
export function jobNameOf({
  tenant,
  jobId,
  number,
}: Pick<AttemptRun, 'tenant' | 'jobId' | 'number'>): string {
  const hash = createHash('sha256').update(`${tenant}/${jobId}`).digest('hex').slice(0, 16);
  return `lorikeet-${hash}-${number}`;
}

/** Settings of all manifests of a server. */
export interface ManifestOptions {
  readonly template: TrainerTemplate;
  /** The Kueue queue that admits the Job. Without a queue, the Job starts immediately. */
  readonly queue: string | undefined;
}

/** Builds the Job. */
export function trainerManifest(work: AttemptRun, { template, queue }: ManifestOptions): object {
  const { tenant, jobId, prefix, memoryBytes } = work;
  const { containers, ...pod } = template.spec;
  const [trainer, ...beside] = containers;
  const labels = { ...template.metadata?.labels, ...(queue && { [QUEUE_LABEL]: queue }) };
  const annotations = { 'lorikeet.dev/job': jobId, 'lorikeet.dev/tenant': tenant };
  return {
    apiVersion: 'batch/v1',
    kind: 'Job',
    metadata: { name: jobNameOf(work), labels, annotations },
    spec: {
      suspend: queue !== undefined,
      parallelism: 1,
      completions: 1,
      // The server counts pods that failed by themselves. The cluster replaces pods that it ended itself.
      backoffLimit: 0,
      podFailurePolicy: {
        rules: [
          { action: 'Ignore', onPodConditions: [{ type: 'DisruptionTarget', status: 'True' }] },
        ],
      },
      ttlSecondsAfterFinished: TTL_SECONDS,
      template: {
        ...template,
        spec: {
          terminationGracePeriodSeconds: GRACE_SECONDS,
          ...pod,
          restartPolicy: 'Never',
          containers: [
            {
              ...trainer,
              command: trainer!.command ?? COMMAND,
              args: ['train-job', prefix],
              resources: withMemory(trainer!.resources, memoryBytes),
            },
            ...beside,
          ],
        },
      },
    },
  };
}

type Resources = TrainerTemplate['spec']['containers'][number]['resources'];

/** Request and limit are equal, because a trainer's memory is known and never shrinks. */
function withMemory(resources: Resources, bytes: number | undefined): Resources {
  if (bytes === undefined) return resources ?? {};
  const wanted = bytes * MEMORY_FACTOR + EXTRA_MEMORY;
  const memory = `${(Math.ceil(wanted / MEMORY_GRAIN) * MEMORY_GRAIN) / 2 ** 20}Mi`;
  const { requests, limits, ...rest } = resources ?? {};
  return { ...rest, requests: { ...requests, memory }, limits: { ...limits, memory } };
}

/** Returns the number of cores that the template asks for, at least 1. */
export function trainerThreads({ spec }: TrainerTemplate): number {
  const { requests, limits } = spec.containers[0]!.resources ?? {};
  const [, number, unit] =
    /^([\d.]+)(m?)$/.exec(String(requests?.['cpu'] ?? limits?.['cpu'])) ?? [];
  const cores = Number(number ?? 1) / (unit === 'm' ? 1000 : 1);
  return Math.max(1, Math.floor(cores));
}

/** The state of a Job. `gone`: it was deleted, and so were its pods. */
export type KubernetesPhase = 'queued' | 'starting' | 'running' | 'over' | 'gone';

/** Reads the phase of a Job. */
export function phaseOf(job: KubernetesJob | undefined): KubernetesPhase {
  if (!job) return 'gone';
  const { active = 0, ready = 0, conditions = [] } = job.status;
  const isOver = conditions.some(
    ({ type, status }) => (type === 'Complete' || type === 'Failed') && status === 'True',
  );
  if (isOver) return 'over';
  if (job.spec.suspend) return 'queued';
  return active > 0 && ready >= active ? 'running' : 'starting';
}

/** Reasons that every starting pod reports. */
const USUAL_REASONS = new Set(['ContainerCreating', 'PodInitializing']);

/** Returns the reason that a pod does not start, or undefined if it seems to start normally. */
export function waitingReason(pods: readonly KubernetesPod[]): string | undefined {
  for (const { status } of pods) {
    const { conditions = [], containerStatuses = [] } = status;
    const unscheduled = conditions.find(
      ({ type, status }) => type === 'PodScheduled' && status === 'False',
    );
    if (unscheduled) return unscheduled.reason ?? 'Unschedulable';
    for (const { state } of containerStatuses) {
      const reason = state?.waiting?.reason;
      if (reason !== undefined && !USUAL_REASONS.has(reason)) return reason;
    }
  }
  return undefined;
}

/** Explains the disappearance of a trainer. */
export function lossOf(pods: readonly KubernetesPod[]): Fault {
  const ends = pods.flatMap(({ status }) =>
    (status.containerStatuses ?? []).flatMap(({ state }) => state?.terminated ?? []),
  );
  if (ends.some(({ reason }) => reason === 'OOMKilled')) {
    const message =
      'The trainer was killed because memory ran out. Try a smaller batch_size, or give its pods more memory.';
    return { code: 'out_of_memory', message, param: null };
  }
  const last = ends.at(-1);
  const reason = last?.reason ?? pods.at(-1)?.status.reason;
  const how = last ? `ended (${reason ?? 'Error'}, exit code ${last.exitCode})` : 'is gone';
  const message = `The trainer’s pod ${how} before its run was done.`;
  return { code: 'trainer_lost', message, param: null };
}
