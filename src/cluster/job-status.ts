// What Kubernetes' objects say of a trainer, in the words of jobs: pure.
import type { Fault } from '../contracts/training.ts';
import type { KubernetesJob, KubernetesPod } from './api-client.ts';

/** `gone`: deleted, its pods too. */
export type JobPhase = 'queued' | 'starting' | 'running' | 'over' | 'gone';

export function phaseOf(job: KubernetesJob | undefined): JobPhase {
  if (!job) return 'gone';
  const { active = 0, ready = 0, conditions = [] } = job.status;
  const isOver = conditions.some(
    ({ type, status }) => (type === 'Complete' || type === 'Failed') && status === 'True',
  );
  if (isOver) return 'over';
  if (job.spec.suspend) return 'queued';
  return active > 0 && ready >= active ? 'running' : 'starting';
}

/** Reasons that a pod has on its way to work. */
const USUAL = new Set(['ContainerCreating', 'PodInitializing']);

/** Why a pod does not start, if it does not look as if it would. */
export function waitingReason(pods: readonly KubernetesPod[]): string | undefined {
  for (const { status } of pods) {
    const { conditions = [], containerStatuses = [] } = status;
    const unscheduled = conditions.find(
      ({ type, status }) => type === 'PodScheduled' && status === 'False',
    );
    if (unscheduled) return unscheduled.reason ?? 'Unschedulable';
    for (const { state } of containerStatuses) {
      const reason = state?.waiting?.reason;
      if (reason !== undefined && !USUAL.has(reason)) return reason;
    }
  }
  return undefined;
}

/** Why there is no word of a trainer any more. */
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
