// The Kubernetes Job of an attempt: pure. What every trainer's pod of a cluster has (image, environment, service
// account, volumes) is a template that the cluster's operator writes; what the runner relies on is said here.
import { createHash } from 'node:crypto';
import { z } from 'zod';
import { ConfigError } from '../common/errors.ts';

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
    /** The first one is the trainer's. */
    containers: z.array(containerSchema).min(1),
    terminationGracePeriodSeconds: z.int().min(1).optional(),
  }),
});

/** Of a pod, as in `spec.template` of a Job. */
export type TrainerTemplate = z.infer<typeof templateSchema>;

/** @throws ConfigError naming the field @param name of the setting */
export function parseTrainerTemplate(text: string, name: string): TrainerTemplate {
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch {
    throw new ConfigError([`${name}: is not JSON`]);
  }
  const result = templateSchema.safeParse(json);
  if (result.success) return result.data;
  const { path, message } = result.error.issues[0]!;
  throw new ConfigError([`${name}: ${path.join('.') || 'template'}: ${message}`]);
}

/** What it does unless the template says so: its image's own program. */
const COMMAND = ['node', 'bin/lorikeet.mjs'];
/** A step of a large model, its checkpoint, and that one's way to the store. */
const GRACE_SECONDS = 300;
/** For people who look at a Job that ended; what it left is in the store. */
const TTL_SECONDS = 3600;
/** The planner is right to a fifth; the pod's own process and its buffers come on top. */
const MEMORY_FACTOR = 1.25;
const MEMORY_BESIDE = 512 * 2 ** 20;
const MEMORY_GRAIN = 64 * 2 ** 20;
/** Kueue's. */
const QUEUE_LABEL = 'kueue.x-k8s.io/queue-name';

export interface AttemptWork {
  readonly tenant: string;
  readonly jobId: string;
  readonly number: number;
  /** What the pod is told: its part of the store. */
  readonly prefix: string;
  /** At the run's peak, as planned; absent: as the template says. */
  readonly memoryBytes?: number | undefined;
}

/** The same for the same attempt. Ids differ in case only at times, names here never do. */
export function jobNameOf({
  tenant,
  jobId,
  number,
}: Pick<AttemptWork, 'tenant' | 'jobId' | 'number'>): string {
  const hash = createHash('sha256').update(`${tenant}/${jobId}`).digest('hex').slice(0, 16);
  return `lorikeet-${hash}-${number}`;
}

export interface ManifestOptions {
  readonly template: TrainerTemplate;
  /** Of Kueue, which admits the Job; absent: it starts at once. */
  readonly queue: string | undefined;
}

export function trainerManifest(work: AttemptWork, { template, queue }: ManifestOptions): object {
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
      // A pod that fails by itself is the server's to count; one that the cluster ended is replaced.
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

/** Requested and limited alike: a trainer's memory is known, and does not shrink. */
function withMemory(resources: Resources, bytes: number | undefined): Resources {
  if (bytes === undefined) return resources ?? {};
  const wanted = bytes * MEMORY_FACTOR + MEMORY_BESIDE;
  const memory = `${(Math.ceil(wanted / MEMORY_GRAIN) * MEMORY_GRAIN) / 2 ** 20}Mi`;
  const { requests, limits, ...rest } = resources ?? {};
  return { ...rest, requests: { ...requests, memory }, limits: { ...limits, memory } };
}

/** Threads of a trainer: as many as the cores that its pod asks for, one where it asks for less or does not say. */
export function trainerThreads({ spec }: TrainerTemplate): number {
  const { requests, limits } = spec.containers[0]!.resources ?? {};
  const [, number, unit] =
    /^([\d.]+)(m?)$/.exec(String(requests?.['cpu'] ?? limits?.['cpu'])) ?? [];
  const cores = Number(number ?? 1) / (unit === 'm' ? 1000 : 1);
  return Math.max(1, Math.floor(cores));
}
