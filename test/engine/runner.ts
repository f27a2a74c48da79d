// A model runner over a serving folder, and the largest difference between logits.
import assert from 'node:assert/strict';
import type { TestContext } from 'node:test';
import { AdapterSlots } from '../../src/engine/adapters/adapter-slots.ts';
import { GraphSessions } from '../../src/engine/graph-sessions.ts';
import { KvCache } from '../../src/engine/kv-cache.ts';
import { openDeviceMemory } from '../../src/engine/memory/device-memory.ts';
import { HOST_MEMORY } from '../../src/engine/memory/host-memory.ts';
import type { ModelMemory } from '../../src/engine/memory/model-memory.ts';
import type { ModelInput } from '../../src/engine/model-input.ts';
import { ModelRunner } from '../../src/engine/model-runner.ts';
import { openServingFolder, type ServingModel } from '../../src/engine/serving-folder.ts';
import type { Provider } from '../../src/settings/provider.ts';

export interface RunnerOptions {
  slotCount: number;
  maxSeqLength: number;
  /** Default `cpu`. */
  provider?: Provider;
  /** The scales of an int8 cache. */
  scales?: Float32Array<ArrayBuffer>;
}

export function createRunner(t: TestContext, servingDir: string, options: RunnerOptions) {
  const { provider = 'cpu' } = options;
  const memory = provider === 'cpu' ? HOST_MEMORY : openDeviceMemory(provider);
  return runnerOf(t, openServingFolder(servingDir), { ...options, provider, memory });
}

export function runnerOf(
  t: TestContext,
  served: ServingModel,
  options: RunnerOptions & { memory: ModelMemory },
) {
  const { slotCount, maxSeqLength, provider = 'cpu', memory, scales } = options;
  const { config } = served;
  const cache = new KvCache(config, { slotCount, maxSeqLength, memory, scales });
  const limits = { capacity: slotCount, capacityBytes: 2 ** 30 };
  const slots = new AdapterSlots(config, limits, memory);
  // Idle threads would spin, while another test needs the core.
  const runtime = { provider, intraOpThreads: 1 };
  const sessions = new GraphSessions(served, maxSeqLength, { runtime, memory });
  t.after(() => sessions.release());
  return { config, cache, slots, runner: new ModelRunner({ config, sessions, cache, slots }) };
}

/** The logits [L * V] of the requested rows. */
export async function runLogits(runner: ModelRunner, input: ModelInput): Promise<Float32Array> {
  const rows = await runner.run(input);
  return Float32Array.from(rows.flatMap(({ logits }) => [...logits]));
}

export function worstDifference(got: Float32Array, want: ArrayLike<number>): number {
  assert.equal(got.length, want.length);
  let worst = 0;
  for (let i = 0; i < got.length; i++) worst = Math.max(worst, Math.abs(got[i]! - want[i]!));
  return Number.isNaN(worst) ? Number.POSITIVE_INFINITY : worst;
}
