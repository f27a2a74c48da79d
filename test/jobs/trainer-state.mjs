// Writes a checkpoint like the trainer's, for simulated trainers: a state and its hash.
import { createHash } from 'node:crypto';
import { mkdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';

export function writeState(dir, step) {
  const folder = path.join(dir, 'checkpoints', `step-${step}`);
  const state = `state of step ${step}`;
  mkdirSync(folder, { recursive: true });
  writeFileSync(path.join(folder, 'state.safetensors'), state);
  const sha256 = createHash('sha256').update(state).digest('hex');
  writeFileSync(path.join(folder, 'state.sha256'), `${sha256}\n`);
}
