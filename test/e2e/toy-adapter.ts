// Adapters for the toy model that comes with the program.
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { serializeSafetensors } from '../../src/formats/safetensors.ts';
import { parseDecoderConfig } from '../../src/model/config.ts';
import { TARGET_MODULES, type TargetName } from '../../src/model/target-modules.ts';
import { filled, keyOf } from '../adapters/sample.ts';
import { seededRandom } from '../fixtures.ts';

const RANK = 4;
const TARGETS: TargetName[] = ['q_proj', 'v_proj'];
const toy = parseDecoderConfig(JSON.parse(readFileSync('models/toy/config.json', 'utf8')));

/** An adapter that changes what the toy says. */
export function writeToyAdapter(directory: string, seed: number, rank = RANK): string {
  mkdirSync(directory, { recursive: true });
  const random = seededRandom(seed);
  const draw = (shape: [number, number]) => filled(shape, 'F32', () => (random() - 0.5) / 2);
  const tensors = Array.from({ length: toy.layerCount }, (_, layer) =>
    TARGETS.flatMap((target) => {
      const { inFeatures, outFeatures } = TARGET_MODULES[target];
      return [
        [keyOf(layer, target, 'A'), draw([rank, inFeatures(toy)])],
        [keyOf(layer, target, 'B'), draw([outFeatures(toy), rank])],
      ] as const;
    }),
  ).flat();
  const config = { peft_type: 'LORA', r: rank, lora_alpha: 16, target_modules: TARGETS };
  writeFileSync(path.join(directory, 'adapter_config.json'), JSON.stringify(config));
  const weights = serializeSafetensors(new Map(tensors));
  writeFileSync(path.join(directory, 'adapter_model.safetensors'), weights);
  return directory;
}
