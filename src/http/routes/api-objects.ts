// Turns records into API objects: jobs, events, checkpoints, plans, published adapters and lists.
import {
  type Aliases,
  type AliasPointer,
  pointerOf,
} from '../../../adapters/repository/manifest.ts';
import type { ListedVersion } from '../../../adapters/repository/name-index.ts';
import { type Page, pageOf } from '../../common/page.ts';
import { NO_ABOUT } from '../../contracts/adapter-about.ts';
import { readCard } from '../../contracts/evaluation-card.ts';
import type {
  FineTuningJob,
  FineTuningJobCheckpoint,
  FineTuningJobEvent,
  FineTuningJobSamples,
  JobHyperparameters,
} from '../../contracts/fine-tuning-api.ts';
import type { Adapter, FineTuningPlan, VersionTraffic } from '../../contracts/management-api.ts';
import { apiMetrics } from '../../contracts/metrics.ts';
import { toUnixSeconds } from '../../contracts/openai.ts';
import type { ResponseItem } from '../../contracts/responses.ts';
import type { StepSamples } from '../../contracts/step-samples.ts';
import { toWire } from '../../contracts/training-fields.ts';
import type { JobPlan } from '../../contracts/training-messages.ts';
import type { FileDigest, TrainingOrigin } from '../../contracts/training-origin.ts';
import type { JobCheckpoint, JobEvent, JobRecord, JobRequest } from '../../jobs/job.ts';
import { resolveHyperparameters } from '../../jobs/job-folder.ts';
import { checkpointId, checkpointModel, eventId, fineTunedModel } from '../../jobs/names.ts';
import { shownData } from '../../jobs/reward-events.ts';
import type { ItemListQuery } from '../schema/conversations.ts';

/** Writes a page in the form that OpenAI's clients follow: while `has_more` is true, they ask for the items after `last_id`. */
export function toListResponse<T, Wire extends { id: string }>(
  { items, hasMore }: Page<T>,
  toWire: (item: T) => Wire,
) {
  const data = items.map(toWire);
  return {
    object: 'list' as const,
    data,
    first_id: data[0]?.id ?? null,
    last_id: data.at(-1)?.id ?? null,
    has_more: hasMore,
  };
}

/** Writes a page of items, which are given oldest first. */
export function toItemList(items: readonly ResponseItem[], { order, ...query }: ItemListQuery) {
  const ordered = order === 'desc' ? items.toReversed() : items;
  return toListResponse(
    pageOf(ordered, query, ({ id }) => id),
    (item) => item,
  );
}

/** Writes a fine-tuning job. */
export function toJob(job: JobRecord): FineTuningJob {
  const { request, result, progress } = job;
  const hyperparameters = toHyperparameters(request, job.plan);
  const { objective = 'supervised', grader, responseFormat } = request;
  const { estimatedFinishMs } = progress ?? {};
  const isRunning = job.status === 'running' && estimatedFinishMs !== undefined;
  return {
    id: job.id,
    object: 'fine_tuning.job',
    created_at: toUnixSeconds(job.createdMs),
    finished_at: job.finishedMs === undefined ? null : toUnixSeconds(job.finishedMs),
    estimated_finish: isRunning ? toUnixSeconds(estimatedFinishMs) : null,
    model: request.model,
    fine_tuned_model: result ? fineTunedModel(job) : null,
    organization_id: job.tenant,
    status: job.status,
    // OpenAI shows them here only for supervised jobs.
    hyperparameters: objective === 'supervised' ? hyperparameters : {},
    method: {
      type: objective,
      [objective]: {
        ...(grader && { grader }),
        ...(responseFormat && { response_format: responseFormat }),
        hyperparameters,
      },
    },
    training_file: request.trainingFile,
    validation_file: request.validationFile ?? null,
    result_files: result?.resultFiles ?? [],
    trained_tokens: result?.trainedTokens ?? null,
    seed: request.seed,
    error: job.error ?? null,
    integrations: [],
    metadata: request.metadata ?? null,
    user_provided_suffix: request.suffix ?? null,
    lorikeet: toExtension(job),
  };
}

/** The fields that OpenAI's object lacks. */
function toExtension(job: JobRecord): FineTuningJob['lorikeet'] {
  const { name, request, plan, progress, card, result, startedMs } = job;
  const { step, totalSteps, trainLoss, best } = progress ?? {};
  const isRewarded = request.objective === 'reinforcement'; // its loss is the negative reward
  const fields = {
    ...request.settings,
    adapter: name,
    version: result?.version,
    digest: result?.digest,
    startedAt: startedMs && toUnixSeconds(startedMs),
    ...{ step, totalSteps, trainLoss },
    [isRewarded ? 'validReward' : 'validLoss']: best && best.validationLoss * (isRewarded ? -1 : 1),
    keptStep: result && (best?.step ?? step),
    plannedSeconds: plan?.seconds,
    plannedMemoryBytes: plan?.memoryBytes,
    plannedSecondsRange: plan?.secondsRange,
    numClasses: plan?.classCount,
    evaluation: readCard(card),
  };
  return toWire(fields) as FineTuningJob['lorikeet'];
}

type Planned = Parameters<typeof resolveHyperparameters>[1];

/** Once there is a plan, writes the number that `auto` stands for. */
function toHyperparameters(request: JobRequest, plan: Planned): JobHyperparameters {
  return toWire(
    plan ? resolveHyperparameters(request, plan) : request.hyperparameters,
  ) as JobHyperparameters;
}

/** Writes an event of a job. */
export function toEvent(job: JobRecord, event: JobEvent): FineTuningJobEvent {
  return {
    object: 'fine_tuning.job.event',
    id: eventId(job, event.seq),
    created_at: toUnixSeconds(event.atMs),
    level: event.level,
    message: event.message,
    type: event.type,
    data: shownData(event.data ?? {}),
  };
}

/** Writes a checkpoint. The checkpoint that became the result has the result's name. */
export function toCheckpoint(job: JobRecord, checkpoint: JobCheckpoint): FineTuningJobCheckpoint {
  const { step, digest, createdMs, metrics } = checkpoint;
  const isResult = job.result?.digest === digest;
  return {
    object: 'fine_tuning.job.checkpoint',
    id: checkpointId(job, step),
    created_at: toUnixSeconds(createdMs),
    fine_tuned_model_checkpoint: isResult ? fineTunedModel(job) : checkpointModel(job, step),
    fine_tuning_job_id: job.id,
    step_number: step,
    metrics: { step, ...apiMetrics(metrics) },
  };
}

/** Writes samples of a step. */
export function toSamples(samples: StepSamples): FineTuningJobSamples {
  return { object: 'fine_tuning.job.samples', id: String(samples.step), ...samples };
}

/** Writes the plan of a dry run. */
export function toPlan(request: JobRequest, plan: JobPlan): FineTuningPlan {
  return {
    object: 'fine_tuning.job.plan',
    model: request.model,
    training_file: request.trainingFile,
    validation_file: request.validationFile ?? null,
    hyperparameters: toHyperparameters(request, plan),
    ...toWire(plan),
  } as FineTuningPlan;
}

/** A published adapter with its versions and aliases. */
export interface PublishedName {
  readonly owner: string;
  readonly name: string;
  readonly isWritable: boolean;
  readonly aliases: Pick<Aliases, 'aliases' | 'previous' | 'rolled_back' | 'about'>;
  /** In ascending order. */
  readonly versions: readonly ListedVersion[];
}

/** Writes a published adapter. `baseDigest` is the digest of the served base. */
export function toAdapter(
  { owner, name, isWritable, aliases, versions }: PublishedName,
  { baseDigest, lastUsedMs, trafficOf }: ServedAdapter,
): Adapter {
  return {
    id: `${owner}/${name}`,
    object: 'adapter',
    name,
    owner,
    is_writable: isWritable,
    about: aliases.about ?? NO_ABOUT,
    last_used_at: isWritable && lastUsedMs !== undefined ? toUnixSeconds(lastUsedMs) : null,
    aliases: Object.entries(aliases.aliases).map(([alias, pointer]) => {
      const previous = pointerOf(aliases.previous, alias);
      return {
        alias,
        leads_to: toShares(pointer),
        previous: previous ? toShares(previous) : null,
        is_rolled_back: aliases.rolled_back?.includes(alias) ?? false,
      };
    }),
    versions: versions
      .toReversed()
      .map((manifest) => toVersion(manifest, { baseDigest, isWritable, trafficOf })),
  };
}

/** The facts of this server about an adapter. */
interface ServedAdapter {
  readonly baseDigest: string;
  readonly lastUsedMs: number | undefined;
  trafficOf(version: number): VersionTraffic | undefined;
}

/** The job and the files that made a version are shown only to tenants who may change the adapter. */
function toVersion(
  manifest: ListedVersion,
  {
    baseDigest,
    isWritable,
    trafficOf,
  }: Pick<ServedAdapter, 'baseDigest' | 'trafficOf'> & { readonly isWritable: boolean },
): Adapter['versions'][number] {
  const { version, created_at, digest, rank, targets, files, base_digest, job, training, metrics } =
    manifest;
  return {
    version,
    created_at,
    digest,
    rank,
    targets,
    bytes: Object.values(files).reduce((sum, { byteSize }) => sum + byteSize, 0),
    classes: manifest.class_count ?? null,
    base: base_digest === undefined ? 'unknown' : base_digest === baseDigest ? 'served' : 'other',
    job: (isWritable && job) || null,
    training: isWritable && training ? toTraining(training) : null,
    evaluation: readCard(metrics?.['evaluation']) ?? null,
    traffic: (isWritable && trafficOf(version)) || null,
  };
}

function toTraining({ program, data, validation, init_adapter }: TrainingOrigin) {
  const toFile = ({ sha256, byteSize }: FileDigest) => ({ sha256, bytes: byteSize });
  return {
    program,
    training_file: toFile(data),
    validation_file: validation ? toFile(validation) : null,
    init_adapter: init_adapter ?? null,
  };
}

function toShares(pointer: AliasPointer) {
  return 'version' in pointer
    ? [{ version: pointer.version, percent: 100 }]
    : pointer.split.map(({ version, percent }) => ({ version, percent }));
}
