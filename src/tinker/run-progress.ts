// How far a training run is: by its model while it is in training, else by its record.
import type { TinkerRun } from '../contracts/tinker-runs.ts';
import type { RunRecord } from './run-record.ts';
import type { TrainedModel } from './sessions.ts';

/** How far a run is. */
export interface RunProgress extends Pick<RunRecord, 'curve' | 'changedMs'> {
  readonly state: TinkerRun['lorikeet']['state'];
}

/** Returns how far a run is. @param model absent if its session has ended */
export function progressOf(run: RunRecord, model: TrainedModel | undefined): RunProgress {
  if (!model) return { ...run, state: 'ended' };
  const curve = model.curve?.data ?? run.curve;
  return { state: 'training', curve, changedMs: model.usedMs };
}
