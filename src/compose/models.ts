// Examines models without serving them: how much memory and disk serving takes, and whether files are intact.
import { existsSync } from 'node:fs';
import path from 'node:path';
import { ConfigError, FileError, UsageError } from '../common/errors.ts';
import { memoryLimit } from '../common/memory-limit.ts';
import { readRegular, SMALL_FILE_BYTES } from '../common/regular-file.ts';
import { MAX_RANK } from '../contracts/training-settings.ts';
import { formOf, slotBytes } from '../engine/adapters/slot-form.ts';
import { cacheType, usablePackings } from '../engine/int8-form.ts';
import { KvCache } from '../engine/kv-cache.ts';
import { baseBytes, type MemoryPlan, planMemory } from '../engine/memory/memory-budget.ts';
import { readArtifactInfo, verifyArtifact } from '../import/artifact.ts';
import { discardChecksums, findFault, isBuilt, servingFolder } from '../import/serving-cache.ts';
import { type DecoderConfig, parseDecoderConfig } from '../model/config.ts';
import type { KvType } from '../model/kv-attention.ts';
import type { RowPacking } from '../model/row-weights.ts';
import { WEIGHTS_MODES, type WeightsMode } from '../model/serving-weights.ts';
import { loraPerRank, type TargetName, targetNames } from '../model/target-modules.ts';
import type { Config } from '../settings/config.ts';
import { findBase } from './base.ts';
import type { ProgramContext } from './context.ts';

/** The weights mode, the shape and type of the KV cache, and one kind of adapter. */
interface ServedShape {
  readonly weights: WeightsMode;
  /** The order of int8 weights, which adapters follow. */
  readonly packing?: RowPacking | undefined;
  readonly kv: KvType;
  readonly slots: number;
  readonly maxSeq: number;
  readonly rank: number;
  readonly targets: readonly TargetName[];
}

/** Sizes in bytes. */
interface ServingSize {
  /** The weights, mapped from the serving files. */
  readonly base: number;
  /** The KV cache of one token. */
  readonly cacheToken: number;
  /** The KV cache of one sequence at its maximum length. */
  readonly cacheSlot: number;
  /** The KV cache of all sequences at their maximum length. */
  readonly cache: number;
  /** An adapter in memory, and its files in peft's format as float32. */
  readonly adapter: number;
  /** The additional memory of an attached adapter. */
  readonly attached: number;
}

const FLOAT32_BYTES = 4;

/** Computes sizes from the tables that the engine allocates by. */
export function servingSize(
  config: DecoderConfig,
  { weights, packing, kv: type, slots, maxSeq, rank, targets }: ServedShape,
): ServingSize {
  const cacheBytes = (slotCount: number, maxSeqLength: number) =>
    KvCache.byteSize(config, { slotCount, maxSeqLength, type });
  return {
    base: baseBytes(config, weights),
    cacheToken: cacheBytes(1, 1),
    cacheSlot: cacheBytes(1, maxSeq),
    cache: cacheBytes(slots, maxSeq),
    adapter: FLOAT32_BYTES * rank * loraPerRank(config, targets),
    attached: slotBytes(config, formOf([{ rank, targets, parts: [] }]), packing),
  };
}

/** The flags of `lorikeet size` that are not settings, as the user wrote them. */
interface SizeRequest {
  /** A config.json, in place of an imported model. */
  readonly configFile: string | undefined;
  readonly rank: string;
  /** Comma-separated names. Undefined means all. */
  readonly targets: string | undefined;
}

/** The sizes of one model under the current settings. */
export interface SizeReport {
  readonly shape: ServedShape;
  readonly size: ServingSize;
  readonly plan: MemoryPlan;
  /** Whether the adapter covers all target modules. */
  readonly hasAllTargets: boolean;
}

/** Computes what serving takes, without running anything. Throws a `UsageError` or `ConfigError` that names the flag. */
export function measureSize(settings: Config, request: SizeRequest): SizeReport {
  const config = readDecoderConfig(request.configFile ?? configFileOf(settings));
  const [packing] = usablePackings({ ...settings, config });
  const kv = cacheType(settings.kv, packing);
  const plan = planMemory(config, { ...settings, packing, kv }, memoryLimit());
  const shape: ServedShape = {
    weights: settings.weights,
    packing,
    kv,
    slots: plan.slots,
    maxSeq: plan.maxSeqLength,
    rank: parseRank(request.rank),
    targets: parseTargets(request.targets, targetNames(config)),
  };
  const hasAllTargets = shape.targets.length === targetNames(config).length;
  return { shape, size: servingSize(config, shape), plan, hasAllTargets };
}

/** Finds the model, which is a folder or a name in the data folder. */
function configFileOf({ model, home }: Pick<Config, 'model' | 'home'>): string {
  if (model === undefined) throw new UsageError('size: give a model with --model or --config');
  const folder = existsSync(model) ? model : path.join(home, 'models', model);
  return path.join(folder, 'config.json');
}

function readDecoderConfig(file: string): DecoderConfig {
  try {
    return parseDecoderConfig(JSON.parse(readRegular(file, SMALL_FILE_BYTES).toString()));
  } catch (error) {
    throw new ConfigError(`${file}: ${(error as Error).message}`);
  }
}

function parseRank(text: string): number {
  const rank = /^\d{1,3}$/.test(text) ? Number(text) : 0;
  if (rank >= 1 && rank <= MAX_RANK) return rank;
  throw new UsageError(`--rank: must be a whole number from 1 to ${MAX_RANK}`);
}

function parseTargets(text: string | undefined, known: readonly TargetName[]): TargetName[] {
  if (text === undefined) return [...known];
  return text.split(',').map((name) => {
    const target = known.find((one) => one === name.trim());
    if (target) return target;
    throw new UsageError(`--targets: unknown target ${name}; use ${known.join(', ')}`);
  });
}

/** The outcome of reading one folder in full. */
interface FolderCheck {
  readonly folder: string;
  /** A description of the damage. Undefined if the folder is intact. */
  readonly damage?: string;
}

/**
 * Reads a model and its serving files in full and compares them with their digests. Marks damaged serving files, so that the
 * next start rebuilds them.
 */
export async function verifyModel(context: ProgramContext): Promise<FolderCheck[]> {
  const { config, signal } = context;
  const dir = await findBase(config.model, context);
  const artifact = await verifyArtifact(dir, signal).then(
    () => ({ folder: dir }),
    (error) => {
      if (error instanceof FileError) return { folder: dir, damage: error.message };
      throw error;
    },
  );
  const { digest } = readArtifactInfo(dir);
  return [artifact, ...(await verifyServingFiles(digest, config, signal))];
}

/** Verifies the serving files of every weights mode that has been served. */
async function verifyServingFiles(
  digest: string,
  { home }: Config,
  signal: AbortSignal,
): Promise<FolderCheck[]> {
  const checks: FolderCheck[] = [];
  const cacheDir = path.join(home, 'cache');
  const packings = ['plain', 'packed'] as const;
  const forms = [
    ...WEIGHTS_MODES.map((weights) => ({ weights })),
    ...packings.map((packing) => ({ weights: 'int8', packing }) as const),
  ];
  for (const form of forms) {
    const { weights } = form;
    const folder = servingFolder(digest, { ...form, cacheDir });
    if (!isBuilt(folder)) continue;
    const fault = await findFault(folder, { signal });
    if (fault) await discardChecksums(folder);
    const damage =
      fault &&
      `${fault.file}: ${fault.reason}. The next start with --weights ${weights} rebuilds it.`;
    checks.push({ folder, ...(damage && { damage }) });
  }
  return checks;
}
