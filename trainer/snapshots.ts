// The adapter as it was at the end of each epoch: PEFT folders, the three newest of which stay. A run that was killed
// makes the same ones again.
import { existsSync } from 'node:fs';
import { type AdapterToWrite, writeAdapter } from './peft-writer.ts';
import { keepSteps, listSteps, stepFolder } from './step-folders.ts';

export interface Snapshots {
  /** Those that are there, ascending. */
  steps(): Promise<number[]>;
  /** A PEFT folder. */
  directory(step: number): string;
  save(step: number): Promise<void>;
}

/** As many as OpenAI's API keeps callable. */
const KEPT_SNAPSHOTS = 3;

/** @param adapter its parameters change while it is trained */
export function createSnapshots(dir: string, adapter: AdapterToWrite): Snapshots {
  return {
    steps: () => listSteps(dir),
    directory: (step) => stepFolder(dir, step),
    async save(step) {
      const target = stepFolder(dir, step);
      // Made before a kill, it is whole and has the same bytes; somebody may be reading it.
      if (!existsSync(target)) await writeAdapter(target, adapter);
      const steps = await listSteps(dir);
      const newest = steps.filter((other) => other <= step).slice(-KEPT_SNAPSHOTS);
      await keepSteps(dir, [...newest, ...steps.filter((other) => other > step)]);
    },
  };
}
