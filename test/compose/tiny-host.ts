// A tiny model, its engine host and adapters for it, and the events of a sequence on it.
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import type { TestContext } from 'node:test';
import { CONFIG_FILE, digestAdapterFiles, WEIGHTS_FILE } from '../../adapters/peft/files.ts';
import type { AdapterSource, GenerationRequest } from '../../src/contracts/generation.ts';
import { LOCAL_TENANT } from '../../src/contracts/tenant.ts';
import type { EngineClient } from '../../src/engine-client/client.ts';
import { serializeSafetensors } from '../../src/formats/safetensors.ts';
import type { DecoderConfig } from '../../src/model/config.ts';
import { TARGET_MODULES } from '../../src/model/target-modules.ts';
import type { EngineEvent } from '../../src/scheduler/protocol.ts';
import { isTerminal } from '../../src/scheduler/sequence.ts';
import { CONFIG, filled, json, keyOf } from '../adapters/sample.ts';
import { plainSource } from '../adapters/sources.ts';
import { seededRandom, servingFolder, temporaryFolder, tinyModel } from '../fixtures.ts';

export const model = tinyModel();

/** The options of an engine host that serves it, with prefills in chunks of 3 tokens. */
export async function hostOptions(t: TestContext) {
  const servingDir = await servingFolder(t, model, 'f32');
  return {
    engine: { servingDir, slotCount: 4, maxSeqLength: 64 },
    adapterCacheBytes: 1_000_000,
    limits: { prefillChunk: 3 },
  };
}

/** A PEFT folder of rank 2 on q and v. */
/** `labels`: the labels of a classifier. */
export async function adapterFolder(
  t: TestContext,
  config: DecoderConfig,
  seed: number,
  labels?: readonly string[],
) {
  const directory = temporaryFolder(t);
  const random = seededRandom(seed);
  const tensors = new Map();
  for (let layer = 0; layer < config.layerCount; layer++) {
    for (const target of ['q_proj', 'v_proj'] as const) {
      const { inFeatures, outFeatures } = TARGET_MODULES[target];
      tensors.set(keyOf(layer, target, 'A'), filled([2, inFeatures(config)], 'F32', random));
      tensors.set(keyOf(layer, target, 'B'), filled([outFeatures(config), 2], 'F32', random));
    }
  }
  const classifies = {
    task_type: 'SEQ_CLS',
    modules_to_save: ['classifier', 'score'],
    id2label: labels && { ...labels },
  };
  if (labels) {
    const head = filled([labels.length, config.hiddenSize], 'F32', random);
    tensors.set('base_model.model.score.weight', head);
  }
  writeFileSync(path.join(directory, CONFIG_FILE), json({ ...CONFIG, ...(labels && classifies) }));
  writeFileSync(path.join(directory, WEIGHTS_FILE), serializeSafetensors(tensors));
  const { digest } = await digestAdapterFiles(directory);
  return plainSource(digest, directory);
}

/** Resolves to the events of one sequence. */
export function generate(
  client: EngineClient,
  adapter: AdapterSource | undefined,
  of: GenerationRequest,
) {
  const events: EngineEvent[] = [];
  return new Promise<EngineEvent[]>((resolve) => {
    client.submit(LOCAL_TENANT, adapter, of, (event) => {
      events.push(event);
      if (isTerminal(event)) resolve(events);
    });
  });
}
