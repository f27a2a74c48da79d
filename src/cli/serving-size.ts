// What serving a base takes of memory and disk with given settings, before anything runs: by the tables
// that the engine allocates by. What its processes take beside that is measured, and said so.
import { existsSync } from 'node:fs';
import path from 'node:path';
import { ConfigError, UsageError } from '../common/errors.ts';
import { memoryLimit } from '../common/memory-limit.ts';
import { readRegular, SMALL_FILE_BYTES } from '../common/regular-file.ts';
import { MAX_RANK } from '../contracts/training-settings.ts';
import { formOf, slotBytes } from '../engine/adapters/slot-form.ts';
import { KvCache } from '../engine/kv-cache.ts';
import { baseBytes, type MemoryPlan, planMemory } from '../engine/memory-budget.ts';
import { type DecoderConfig, parseDecoderConfig } from '../model/config.ts';
import type { WeightsMode } from '../model/serving-weights.ts';
import { loraPerRank, TARGET_NAMES, type TargetName } from '../model/target-modules.ts';
import { type Flags, loadConfig } from '../settings/config.ts';
import { formatBytes, formatTable } from './table.ts';
import type { Terminal } from './terminal.ts';

export interface SizeQuestion {
  readonly weights: WeightsMode;
  readonly slots: number;
  readonly maxSeq: number;
  readonly rank: number;
  readonly targets: readonly TargetName[];
}

/** Bytes. */
export interface ServingSize {
  /** Mapped from the serving files. */
  readonly base: number;
  readonly cacheToken: number;
  /** A sequence of the greatest length. */
  readonly cacheSlot: number;
  /** All sequences at their greatest length. */
  readonly cache: number;
  /** An adapter in memory, and in the files of peft (float32). */
  readonly adapter: number;
  /** The same attached, with its rank's operands: beside the one above, while it runs. */
  readonly attached: number;
}

/** Flags, as they were given. */
export interface SizeOptions {
  model?: string;
  config?: string;
  weights?: string;
  slots?: string;
  maxSeq?: string;
  rank: string;
  targets?: string;
  json?: true;
}

const FLOAT32_BYTES = 4;
export function servingSize(config: DecoderConfig, asked: SizeQuestion): ServingSize {
  const { weights, slots, maxSeq, rank, targets } = asked;
  return {
    base: baseBytes(config, weights),
    cacheToken: KvCache.byteSize(config, 1, 1),
    cacheSlot: KvCache.byteSize(config, 1, maxSeq),
    cache: KvCache.byteSize(config, slots, maxSeq),
    adapter: FLOAT32_BYTES * rank * loraPerRank(config, targets),
    attached: slotBytes(config, formOf([{ rank, targets }])),
  };
}

export function printSize(options: SizeOptions, terminal: Terminal): void {
  const flags: Flags = {};
  for (const name of ['model', 'weights', 'slots', 'maxSeq'] as const) {
    const value = options[name];
    if (value !== undefined) flags[name] = value;
  }
  const settings = loadConfig(flags);
  const config = readConfig(options.config ?? configOf(settings));
  const plan = planMemory(config, settings, memoryLimit());
  const asked: SizeQuestion = {
    weights: settings.weights,
    slots: plan.slots,
    maxSeq: plan.maxSeqLength,
    rank: parseRank(options.rank),
    targets: parseTargets(options.targets),
  };
  const size = servingSize(config, asked);
  const { budget } = plan;
  const json = () => JSON.stringify({ ...asked, ...size, memory: budget });
  terminal.out(`${options.json ? json() : `${describe(size, asked)}\n${describeBudget(plan)}`}\n`);
}

function describe(
  size: ServingSize,
  { weights, slots, maxSeq, rank, targets }: SizeQuestion,
): string {
  const which = targets.length === TARGET_NAMES.length ? 'all linears' : targets.join(', ');
  return formatTable([
    ['what', 'bytes', ''],
    [
      `base, ${weights}`,
      formatBytes(size.base),
      'on disk, mapped, and packed once for the processor',
    ],
    ['cache, a token', formatBytes(size.cacheToken), ''],
    [`cache, a sequence of ${maxSeq}`, formatBytes(size.cacheSlot), 'taken as the sequence grows'],
    [`cache, ${slots} of them`, formatBytes(size.cache), 'at the most'],
    [
      `adapter, rank ${rank}, ${which}`,
      formatBytes(size.adapter),
      'in --adapter-cache, and on disk as float32',
    ],
    [
      'the same, while it runs',
      formatBytes(size.attached),
      'beside that, for each adapter slot in use',
    ],
  ]);
}

function describeBudget({
  budget: { limit, totalBytes, parts },
  adapterCacheBytes,
}: MemoryPlan): string {
  const processes = parts.server + parts.engine + parts.tokenizer + parts.activations;
  return formatTable([
    ['a server with these settings', 'bytes', ''],
    ['base', formatBytes(parts.base), ''],
    ['processes', formatBytes(processes), 'server, engine, tokenizer, activations: measured'],
    ['cache', formatBytes(parts.kvCache), ''],
    [
      'adapters',
      formatBytes(adapterCacheBytes + parts.adapterSlots),
      'in the cache and in slots, at the most',
    ],
    ['total', formatBytes(totalBytes), 'at the most'],
    ['limit', formatBytes(limit.bytes), limit.source],
  ]);
}

/** The imported model's own; a name is one of those in the data folder. */
function configOf({ model, home }: { model?: string | undefined; home: string }): string {
  if (model === undefined) {
    throw new UsageError('--model or --config has to say which model is meant');
  }
  const folder = existsSync(model) ? model : path.join(home, 'models', model);
  return path.join(folder, 'config.json');
}

function readConfig(file: string): DecoderConfig {
  try {
    return parseDecoderConfig(JSON.parse(readRegular(file, SMALL_FILE_BYTES).toString()));
  } catch (error) {
    throw new ConfigError([`${file}: ${(error as Error).message}`]);
  }
}

function parseRank(text: string): number {
  const rank = /^\d{1,3}$/.test(text) ? Number(text) : 0;
  if (rank >= 1 && rank <= MAX_RANK) return rank;
  throw new UsageError(`--rank: must be a whole number from 1 to ${MAX_RANK}`);
}

function parseTargets(text: string | undefined): TargetName[] {
  if (text === undefined) return [...TARGET_NAMES];
  return text.split(',').map((name) => {
    const target = TARGET_NAMES.find((one) => one === name.trim());
    if (target) return target;
    throw new UsageError(`--targets: ${name} is none of ${TARGET_NAMES.join(', ')}`);
  });
}
