// Checkpoints as unquantized bases, for tests that compare with transformers and peft.
import path from 'node:path';
import { type Artifact, readArtifact } from '../src/import/artifact.ts';
import { importModel } from '../src/import/import-model.ts';
import { temporaryFolder } from './fixtures.ts';

interface Cleanup {
  after(fn: () => void): void;
}

/** Imports a checkpoint without quantization. Returns the folder of the base. */
export async function importBase(t: Cleanup, source: string): Promise<string> {
  const dir = path.join(temporaryFolder(t), 'base');
  await importModel(source, dir, { quantization: 'none', doubleQuantization: false });
  return dir;
}

/** Does the same, and opens the base. */
export async function openBase(t: Cleanup, source: string): Promise<Artifact> {
  const artifact = readArtifact(await importBase(t, source));
  t.after(() => artifact.tensors.close());
  return artifact;
}
