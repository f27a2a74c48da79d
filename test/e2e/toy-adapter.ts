// Adapters for the toy model that comes with the program.
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { EMBEDDING, tensorName } from '../../adapters/peft/tensor-names.ts';
import { toFloat32 } from '../../src/common/tensor.ts';
import {
  BASE_LIMITS,
  parseSafetensors,
  serializeSafetensors,
} from '../../src/formats/safetensors.ts';
import { readArtifact } from '../../src/import/artifact.ts';
import { parseDecoderConfig } from '../../src/model/config.ts';
import { embeddingName } from '../../src/model/names.ts';
import { TARGET_MODULES, type TargetName } from '../../src/model/target-modules.ts';
import { filled, keyOf } from '../adapters/sample.ts';
import { seededRandom } from '../fixtures.ts';

const MODEL = 'models/toy';
const RANK = 4;
const TARGETS: TargetName[] = ['q_proj', 'v_proj'];
const toy = parseDecoderConfig(JSON.parse(readFileSync(`${MODEL}/config.json`, 'utf8')));

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

/** A toy adapter that sorts texts into classes. */
export function writeToyClassifier(directory: string, seed: number, labels: string[]): string {
  writeToyAdapter(directory, seed);
  const file = path.join(directory, 'adapter_model.safetensors');
  const { tensors } = parseSafetensors(readFileSync(file), BASE_LIMITS);
  const random = seededRandom(seed);
  const head = filled([labels.length, toy.hiddenSize], 'F32', () => random() - 0.5);
  const all = new Map([...tensors, ['base_model.model.score.weight', head] as const]);
  writeFileSync(file, serializeSafetensors(all));
  const configFile = path.join(directory, 'adapter_config.json');
  const config = JSON.parse(readFileSync(configFile, 'utf8'));
  const id2label = Object.fromEntries(labels.map((label, i) => [i, label]));
  const own = { ...config, task_type: 'SEQ_CLS', modules_to_save: ['score'], id2label };
  writeFileSync(configFile, JSON.stringify(own));
  return directory;
}

/** The tokens of `writeResizedAdapter` that the toy lacks. */
export const NEW_TOKENS = [
  { id: toy.vocabSize, content: 'foo bar', special: false },
  { id: toy.vocabSize + 1, content: '<|tool|>', special: true },
];

/** A toy adapter that was trained after two tokens had been added. `rows`: how many of them the table has. */
export function writeResizedAdapter(
  directory: string,
  seed: number,
  rows = NEW_TOKENS.length,
): string {
  writeToyAdapter(directory, seed);
  const file = path.join(directory, 'adapter_model.safetensors');
  const { tensors } = parseSafetensors(readFileSync(file), BASE_LIMITS);
  const artifact = readArtifact(MODEL);
  const base = toFloat32(artifact.tensors.read(embeddingName));
  artifact.tensors.close();
  const { hiddenSize, vocabSize } = toy;
  const own = (i: number) => base[i] ?? base[i - 400 * hiddenSize - seed]!;
  const table = filled([vocabSize + rows, hiddenSize], 'F32', own);
  const all = new Map([...tensors, [tensorName(EMBEDDING, 'whole'), table] as const]);
  writeFileSync(file, serializeSafetensors(all));
  const json = JSON.parse(readFileSync(`${MODEL}/tokenizer.json`, 'utf8'));
  const plain = { single_word: false, lstrip: false, rstrip: false, normalized: false };
  json.added_tokens.push(...NEW_TOKENS.map((token) => ({ ...token, ...plain })));
  writeFileSync(path.join(directory, 'tokenizer.json'), JSON.stringify(json, null, 2));
  const config = { eos_token: '<|tool|>' };
  writeFileSync(path.join(directory, 'tokenizer_config.json'), JSON.stringify(config));
  return directory;
}
