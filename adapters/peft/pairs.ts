// The factors of LoHa and LoKr as LoRA's pairs, so that nothing behind the files knows of them.
import { fromFloat32, type Tensor } from '../../src/common/tensor.ts';
import { MAX_RANK } from '../../src/contracts/training-settings.ts';
import type { AdapterConfig } from './adapter-config.ts';
import { type FactorKind, LinearFactors, type PairSize, type Shaped } from './factors.ts';
import { HADAMARD } from './hadamard.ts';
import { KRONECKER } from './kronecker.ts';
import { invalidAdapter } from './refusal.ts';
import { MODULE_TENSORS, tensorName } from './tensor-names.ts';
import { parseTensors } from './tensors.ts';

const KINDS: readonly FactorKind[] = [HADAMARD, KRONECKER];
/** As many as a file of plain LoRA may have. A few factors can have a product of any size. */
const MAX_PAIR_BYTES = 2 ** 31;

/** The tensors of a file, in which each linear with factors has a pair instead. */
interface Pairs<T> {
  readonly tensors: ReadonlyMap<string, T>;
  readonly computed: ReadonlyMap<string, ComputedPair>;
}

interface ComputedPair extends PairSize {
  readonly kind: FactorKind;
}

/** Parses the tensors of an adapter. Throws `ServeError` (422) with the tensor or `header` as `param`. */
export function parsePairs(bytes: Uint8Array): Pairs<Tensor> {
  return withPairs<Tensor>(parseTensors(bytes), (shapes, kind, factors) => {
    const { a, b } = kind.multiply(factors);
    return { a: fromFloat32(a, shapes.a, 'F32'), b: fromFloat32(b, shapes.b, 'F32') };
  });
}

/** Does the same with shapes only. */
export function pairShapes(tensors: ReadonlyMap<string, Shaped>): ReadonlyMap<string, Shaped> {
  return withPairs<Shaped>(tensors, ({ a, b }) => ({ a: { shape: a }, b: { shape: b } })).tensors;
}

function withPairs<T extends Shaped>(
  tensors: ReadonlyMap<string, T>,
  toPair: (
    shapes: Readonly<Record<'a' | 'b', readonly [number, number]>>,
    kind: FactorKind,
    factors: LinearFactors<T>,
  ) => Readonly<Record<'a' | 'b', T>>,
): Pairs<T> {
  const found = new Map<
    string,
    { readonly kind: FactorKind; readonly factors: LinearFactors<T> }
  >();
  const all = new Map<string, T>();
  for (const [name, tensor] of tensors) {
    const at = name.lastIndexOf('.');
    const [prefix, ending] = [name.slice(0, at), name.slice(at + 1)];
    const kind = KINDS.find(({ endings }) => endings.includes(ending));
    if (!kind) {
      all.set(name, tensor);
      continue;
    }
    const known = found.get(prefix) ?? { kind, factors: new LinearFactors<T>(prefix) };
    if (known.kind !== kind) throw invalidAdapter(name, `does not go with ${known.kind.label}`);
    known.factors.add(ending, tensor);
    found.set(prefix, known);
  }
  const computed = new Map<string, ComputedPair>();
  let bytes = 0;
  for (const [prefix, { kind, factors }] of found) {
    const size = kind.measure(factors);
    const { rank, inFeatures, outFeatures } = size;
    bytes += 4 * rank * (inFeatures + outFeatures);
    const refuse = (need: string): never => {
      const first = kind.endings.find((ending) => factors.has(ending))!;
      throw invalidAdapter(factors.nameOf(first), `${kind.label} with these factors needs ${need}`);
    };
    if (rank > MAX_RANK) refuse(`rank ${rank}; the limit is ${MAX_RANK}`);
    if (bytes > MAX_PAIR_BYTES) refuse(`${bytes} bytes; the limit is ${MAX_PAIR_BYTES}`);
    const shapes = { a: [rank, inFeatures], b: [outFeatures, rank] } as const;
    const pair = toPair(shapes, kind, factors);
    for (const name of ['a', 'b'] as const)
      all.set(`${prefix}.${MODULE_TENSORS[name]}`, pair[name]);
    computed.set(prefix, { ...size, kind });
  }
  return { tensors: all, computed };
}

/**
 * Returns the configuration with the ranks of the pairs. `settingOf` also throws `ServeError` (422) if the file has factors of
 * another kind, or of another rank.
 */
export function withPairRanks<C extends AdapterConfig>(config: C, pairs: Pairs<Tensor>): C {
  return {
    ...config,
    settingOf(module) {
      const setting = config.settingOf(module);
      const key = tensorName(module, 'a');
      const pair = pairs.computed.get(key.slice(0, -MODULE_TENSORS.a.length - 1));
      const type = pair?.kind.peftType ?? 'LORA';
      if (type !== config.peftType && pairs.tensors.has(key))
        throw invalidAdapter(
          'peft_type',
          `is ${config.peftType}, but ${module} has factors of ${type}`,
        );
      if (!pair) return setting;
      const { rank, factorRank = setting.rank } = pair;
      if (factorRank === setting.rank) return { ...setting, rank };
      throw invalidAdapter(
        'r',
        `is ${setting.rank} for ${module}, but its factors have rank ${factorRank}`,
      );
    },
  };
}
