// Every kind of adapter on the real base in int8: its NLL is as close to float32's as that of plain LoRA. A trained adapter of all
// linears is the part that all kinds share, and the rest is noise of about the size that training leaves.
import assert from 'node:assert/strict';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import type { TestContext } from 'node:test';
import { digestAdapterFiles } from '../../adapters/peft/files.ts';
import { EMBEDDING, HEAD, moduleOf, tensorName } from '../../adapters/peft/tensor-names.ts';
import { adaptedBaseOf } from '../../src/adapted-base/adapted-base.ts';
import {
  elementCount,
  type FloatDType,
  fromFloat32,
  type Tensor,
  toFloat32,
} from '../../src/common/tensor.ts';
import type { AdapterSource } from '../../src/contracts/generation.ts';
import {
  BASE_LIMITS,
  parseSafetensors,
  serializeSafetensors,
} from '../../src/formats/safetensors.ts';
import { type Artifact, readArtifact } from '../../src/import/artifact.ts';
import { embeddingName } from '../../src/model/names.ts';
import { normVectors } from '../../src/model/serving-weights.ts';
import { linearsOf, moduleName } from '../../src/model/target-modules.ts';
import { loadTokenizer } from '../../src/tokenizer/tokenizer.ts';
import { plainSource } from '../adapters/sources.ts';
import { seededRandom, temporaryFolder } from '../fixtures.ts';
import { sharedPath, testUnless } from '../shared.ts';
import { fetchBase, score, serve, trainedAdapter } from './served.ts';

const base = process.env['LORIKEET_E2E_LONG'] ? await fetchBase() : { reason: 'takes minutes' };
const shared = sharedPath();
const skip = 'reason' in base ? base.reason : !shared && 'shared reference data is absent';
const test = testUnless(skip);
const dir = 'dir' in base ? base.dir : '';

/** Trained by peft. The last one is the part that all kinds share. */
const PLAIN = ['zen', 'snips', 'wordnet', 'childish'];
const WINDOWS = 9;
const WINDOW = 512;
/** The invocation of the activated adapter, `<|im_start|>`, which the text does not have, and its place in each window. */
const INVOCATION = { id: 1, at: 128 };
/** Two differences from float32 are equal if they lie within this many standard errors. */
const ERRORS = 3;
/** More than that in every linear is no language model any more: 0.02 has an NLL of 6.4. */
const BIAS = 0.004;

interface Kind {
  readonly config?: Record<string, unknown>;
  /** Beside those of the trained adapter. */
  readonly tensors?: readonly Named[];
}

/** Writes one folder for each kind. Returns the adapters by kind. */
async function writeKinds(t: TestContext): Promise<ReadonlyMap<string, AdapterSource>> {
  const trained = path.join(shared!, 'adapters', PLAIN.at(-1)!);
  const config = JSON.parse(readFileSync(path.join(trained, 'adapter_config.json'), 'utf8'));
  const bytes = readFileSync(path.join(trained, 'adapter_model.safetensors'));
  const { tensors } = parseSafetensors(bytes, BASE_LIMITS);
  const folder = temporaryFolder(t);
  const found = new Map<string, AdapterSource>();
  const artifact = readArtifact(dir);
  t.after(() => artifact.tensors.close());
  const kinds = await kindsOf({ settings: config, trained: tensors, artifact });
  for (const [name, kind] of Object.entries(kinds)) {
    const directory = path.join(folder, name);
    mkdirSync(directory);
    const json = JSON.stringify({ ...config, ...kind.config });
    writeFileSync(path.join(directory, 'adapter_config.json'), json);
    const own = kind.config?.['peft_type'] ? [] : tensors;
    const all = new Map([...own, ...(kind.tensors ?? [])]);
    writeFileSync(path.join(directory, 'adapter_model.safetensors'), serializeSafetensors(all));
    found.set(name, plainSource((await digestAdapterFiles(directory)).digest, directory));
  }
  return found;
}

/** The trained adapter, and the base that its kinds are made for. */
interface Source {
  readonly settings: {
    readonly r: number;
    readonly lora_alpha: number;
    readonly target_modules: readonly string[];
  };
  readonly trained: ReadonlyMap<string, Tensor>;
  readonly artifact: Artifact;
}

type Named = [name: string, tensor: Tensor];

const random = seededRandom(1);
/** Of mean 0 and this standard deviation. */
const noise = (size: number) => size * Math.sqrt(3) * random();

function drawn(shape: readonly number[], size: number, mean = 0): Tensor {
  const values = new Float32Array(elementCount(shape)).map(() => mean + noise(size));
  return fromFloat32(values, shape, 'F32');
}

/** The tensor with a relative change of this size. */
function changed(tensor: Tensor, size: number): Tensor {
  const values = toFloat32(tensor).map((value) => value * (1 + noise(size)));
  return fromFloat32(values, tensor.shape, tensor.dtype as FloatDType);
}

async function kindsOf(source: Source): Promise<Readonly<Record<string, Kind>>> {
  const { settings, artifact } = source;
  const magnitudes = await magnitudesOf(source);
  const norms = normVectors(artifact.config).map(({ name }): Named => {
    return [tensorName(moduleOf(name), 'whole'), changed(artifact.tensors.read(name), 0.05)];
  });
  return {
    LoHa: {
      config: { peft_type: 'LOHA', alpha: settings.lora_alpha },
      tensors: hadamardOf(source),
    },
    DoRA: { config: { use_dora: true }, tensors: magnitudes },
    'biases of B': { config: { lora_bias: true }, tensors: biasesOf(source) },
    norms: { config: { modules_to_save: ['norm'] }, tensors: norms },
    'DoRA and norms': {
      config: { use_dora: true, modules_to_save: ['norm'] },
      tensors: [...magnitudes, ...norms],
    },
    ...tableKinds(source),
    'activated LoRA': { config: { alora_invocation_tokens: [INVOCATION.id] } },
  };
}

/** The linears with A [r, in] and B [out, r] of the trained adapter. */
function updatesOf({ artifact, trained }: Source) {
  return linearsOf(artifact.config).map(([layer, target]) => {
    const module = moduleName(layer, target);
    const [a, b] = (['a', 'b'] as const).map((name) => trained.get(tensorName(module, name))!);
    return { module, a: a!, b: b! };
  });
}

/** Changes the norms of the rows of W + s B A. */
async function magnitudesOf(source: Source): Promise<Named[]> {
  const { r: rank, lora_alpha: alpha } = source.settings;
  const adapted = adaptedBaseOf(source.artifact);
  const named: Named[] = [];
  for (const { module, ...pair } of updatesOf(source)) {
    const b = toFloat32(pair.b).map((value) => (value * alpha) / rank);
    const norms = await adapted.rowNorms(module, { rank, a: toFloat32(pair.a), b });
    const tensor = fromFloat32(norms, [norms.length], 'F32');
    named.push([tensorName(module, 'magnitude'), changed(tensor, 0.05)]);
  }
  return named;
}

function biasesOf(source: Source): Named[] {
  return updatesOf(source).map(({ module, b }) => {
    return [tensorName(module, 'updateBias'), drawn([b.shape[0]!], BIAS)];
  });
}

/** The elementwise product of B A with a matrix of the same rank around 1. */
function hadamardOf(source: Source): Named[] {
  const mean = source.settings.r ** -0.5;
  return updatesOf(source).flatMap(({ module, a, b }) => {
    const [w2_a, w2_b] = [b, a].map(({ shape }) => drawn(shape, 0.2 * mean, mean));
    const factors = { w1_a: b, w1_b: a, w2_a: w2_a!, w2_b: w2_b! };
    return Object.entries(factors).map(
      ([name, tensor]): Named => [`base_model.model.${module}.hada_${name}`, tensor],
    );
  });
}

function tableKinds({ settings, artifact }: Source): Record<string, Kind> {
  const { r, target_modules: targets } = settings;
  const { vocabSize, hiddenSize } = artifact.config;
  const table = artifact.tensors.read(embeddingName);
  const [first, count] = [20, 2000];
  const rowBytes = table.data.length / vocabSize;
  const rows = table.data.subarray(first * rowBytes, (first + count) * rowBytes);
  const tokens = { ...table, shape: [count, hiddenSize], data: rows };
  const longer = Buffer.concat([table.data, rows.subarray(0, 2 * rowBytes)]);
  return {
    'an update of the embedding': {
      config: { target_modules: [...targets, 'embed_tokens'] },
      tensors: [
        [tensorName(EMBEDDING, 'embeddingA'), drawn([r, vocabSize], 0.05)],
        [tensorName(EMBEDDING, 'embeddingB'), drawn([hiddenSize, r], 0.02)],
      ],
    },
    'an update of the head': {
      config: { target_modules: [...targets, 'lm_head'] },
      tensors: [
        [tensorName(HEAD, 'a'), drawn([r, hiddenSize], 0.02)],
        [tensorName(HEAD, 'b'), drawn([vocabSize, r], 0.05)],
      ],
    },
    'whole tables': {
      config: { modules_to_save: ['embed_tokens'], ensure_weight_tying: true },
      tensors: [[tensorName(EMBEDDING, 'whole'), changed(table, 0.05)]],
    },
    'trained tokens': {
      config: { trainable_token_indices: Array.from({ length: count }, (_, i) => first + i) },
      tensors: [[tensorName(EMBEDDING, 'tokens'), changed(tokens, 0.1)]],
    },
    'a resized vocabulary': {
      tensors: [
        [
          tensorName(EMBEDDING, 'whole'),
          { ...table, shape: [vocabSize + 2, hiddenSize], data: longer },
        ],
      ],
    },
  };
}

interface Measured {
  readonly exact: number;
  /** The mean of int8's NLL above float32's, and its standard error over the tokens. */
  readonly difference: number;
  readonly error: number;
}

test("the NLL of every kind in int8 is as near to float32's as that of plain LoRA", async (t) => {
  const tokenizer = (await loadTokenizer(dir))!;
  const text = readFileSync(path.join(shared!, 'data/eval/wikitext-2-test.txt'), 'utf8');
  const ids = tokenizer.encode(text.slice(0, 60_000), { specials: false });
  const windows = Array.from({ length: WINDOWS }, (_, i) => {
    const window = ids.slice(i * WINDOW, (i + 1) * WINDOW);
    return [...window.slice(0, INVOCATION.at), INVOCATION.id, ...window.slice(INVOCATION.at)];
  });
  const [exact, int8] = [await serve(t, dir, 'f32'), await serve(t, dir, 'int8')];

  const measure = async (adapter: AdapterSource | undefined): Promise<Measured> => {
    const nll = async (client: typeof exact) => {
      const scores = [];
      for (const window of windows) scores.push(...(await score(client, adapter, window)));
      return scores.map((logprob) => -logprob);
    };
    const [theirs, mine] = [await nll(exact), await nll(int8)];
    const differences = mine.map((value, i) => value - theirs[i]!);
    const difference = mean(differences);
    const variance = mean(differences.map((value) => (value - difference) ** 2));
    return { exact: mean(theirs), difference, error: Math.sqrt(variance / differences.length) };
  };
  const report = (name: string, { exact, difference, error }: Measured) =>
    t.diagnostic(
      `| ${name} | ${exact.toFixed(3)} | ${difference.toFixed(4)} ± ${error.toFixed(4)} |`,
    );

  const kinds = await writeKinds(t);
  report('the base', await measure(undefined));
  const plain: Measured[] = [];
  for (const name of PLAIN) {
    plain.push(await measure(await trainedAdapter(name)));
    report(`plain LoRA, ${name}`, plain.at(-1)!);
  }
  const worst = plain.reduce((a, b) => (a.difference > b.difference ? a : b));
  const faults: string[] = [];
  for (const [name, adapter] of kinds) {
    const measured = await measure(adapter);
    report(name, measured);
    const limit = worst.difference + ERRORS * Math.hypot(measured.error, worst.error);
    if (!(measured.difference <= limit)) faults.push(`${name}: ${measured.difference} > ${limit}`);
  }
  assert.deepEqual(faults, []);
});

function mean(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}
