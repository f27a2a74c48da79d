// lorikeet models, import, verify and size: commands about models that do not start a server.
import path from 'node:path';
import { type Command, Option } from 'commander';
import { UsageError } from '../common/errors.ts';
import { EXIT } from '../common/failure.ts';
import { formatBytes } from '../common/format-bytes.ts';
import type { ListedModel, SizeReport } from '../compose/models.ts';
import { DEFAULT_RANK } from '../contracts/training-settings.ts';
import { type Flags, loadConfig } from '../settings/config.ts';
import type { CommandContext } from './programs.ts';
import { formatTable } from './table.ts';
import { listenForInterrupt } from './terminal.ts';

interface ImportFlags extends Pick<Flags, 'weights' | 'kv'> {
  readonly out: string;
  readonly build: boolean;
  readonly quantization: 'nf4' | 'none';
  readonly doubleQuantization: 'true' | 'false';
  readonly ropeScaling?: string;
  readonly json?: true;
}

/** Adds `lorikeet import`. */
export function addImport(
  program: Command,
  { terminal, reporter, programs }: CommandContext,
): void {
  program
    .command('import')
    .description('fetch a base model and quantize it into a folder for `serve --model`')
    .argument('<source>', 'a Hugging Face folder, a hub id, a .gguf file or a catalogue name')
    .requiredOption('--out <dir>', 'the folder to write')
    .addOption(
      new Option('--quantization <kind>', 'none keeps the weights as they are')
        .choices(['nf4', 'none'])
        .default('nf4'),
    )
    .addOption(
      new Option('--double-quantization <boolean>', 'also quantize the scales of the 4-bit blocks')
        .choices(['true', 'false'])
        .default('true'),
    )
    .option(
      '--rope-scaling <json>',
      "replaces rope_scaling of the model's config.json, for a longer context",
    )
    .option('--weights <mode>', 'as the server will have it, which reads files of this form')
    .option('--kv <format>', 'as the server will have it')
    .option('--no-build', 'leave building the files that a server reads to its first start')
    .option('--json', 'print the result as JSON')
    .addHelpText('after', IMPORT_EXAMPLES)
    .action(async (source: string, flags: ImportFlags) => {
      const { out: outDir, quantization, weights, kv, build: isBuilt, json } = flags;
      const doubleQuantization = flags.doubleQuantization === 'true';
      const settings = { ...(weights && { weights }), ...(kv && { kv }) };
      const ropeScaling = parseRopeScaling(flags.ropeScaling);
      const kept = { quantization, doubleQuantization, ...(ropeScaling && { ropeScaling }) };
      const info = await programs.importBase(
        { source, outDir, ...kept, isBuilt },
        { config: loadConfig(settings), signal: listenForInterrupt(), reporter },
      );
      const result = { directory: path.resolve(outDir), ...info };
      const text = `${result.name} is in ${result.directory}\nServe it: lorikeet serve --model ${outDir}`;
      terminal.out(`${json ? JSON.stringify(result) : text}\n`);
    });
}

function parseRopeScaling(text: string | undefined): Record<string, unknown> | undefined {
  if (text === undefined) return undefined;
  const example = `such as '{"rope_type":"yarn","factor":4}'`;
  const parsed = parseJson(text);
  if (isObject(parsed)) return parsed;
  throw new UsageError(`--rope-scaling: must be a JSON object ${example}`);
}

function isObject(value: unknown): value is Record<string, unknown> {
  return value !== null && typeof value === 'object' && !Array.isArray(value);
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

/** Adds `lorikeet models`. */
export function addModels(program: Command, { terminal }: CommandContext): void {
  program
    .command('models')
    .description('list the bases that can be imported by name, and those on this disk')
    .option('--json', 'print the list as JSON, in bytes')
    .action(async ({ json }: { json?: true }) => {
      const { listModels } = await import('../compose/models.ts');
      const models = listModels(loadConfig());
      terminal.out(`${json ? JSON.stringify(models) : modelsTable(models)}\n`);
    });
}

function modelsTable(models: readonly ListedModel[]): string {
  return formatTable([
    ['name', 'context', 'download', 'int8', 'int4', 'nf4', 'on this machine', 'license'],
    ...models.map((one) => [
      one.name,
      one.context.toLocaleString('en-US'),
      one.isImported ? ['imported', ...one.built].join(', ') : formatBytes(one.download),
      formatBytes(one.base.int8),
      formatBytes(one.base.int4),
      formatBytes(one.base.nf4),
      one.fits ? `fits in ${one.fits}` : 'too large',
      one.license ?? '',
    ]),
  ]);
}

interface VerifyFlags {
  readonly model?: string;
  readonly json?: true;
}

/** Adds `lorikeet verify`. */
export function addVerify(program: Command, { terminal, reporter, exit }: CommandContext): void {
  program
    .command('verify')
    .description('read a model and its serving files in full and compare them with their digests')
    .option('--model <dir>', 'folder or name of an imported model [LORIKEET_MODEL]')
    .option('--json', 'print the result as JSON')
    .action(async ({ json, ...flags }: VerifyFlags) => {
      const { verifyModel } = await import('../compose/models.ts');
      const signal = listenForInterrupt();
      const checks = await verifyModel({ config: loadConfig(flags), signal, reporter });
      const isSound = checks.every(({ damage }) => damage === undefined);
      if (json) {
        const shown = checks.map(({ folder, ...check }) => ({ what: folder, ...check }));
        terminal.out(`${JSON.stringify({ sound: isSound, checks: shown })}\n`);
      } else {
        for (const { folder, damage } of checks) terminal.out(`${folder}: ${damage ?? 'sound'}\n`);
      }
      exit(isSound ? EXIT.ok : EXIT.failed);
    });
}

interface SizeFlags extends Pick<Flags, 'model' | 'weights' | 'kv' | 'slots' | 'maxSeq'> {
  readonly config?: string;
  readonly rank: string;
  readonly targets?: string;
  readonly json?: true;
}

/** Adds `lorikeet size`. */
export function addSize(program: Command, { terminal }: CommandContext): void {
  program
    .command('size')
    .description('show how much memory and disk serving takes, before anything runs')
    .option('--model <dir>', 'folder or name of an imported model [LORIKEET_MODEL]')
    .option('--config <file>', "a model's config.json, instead of an imported model")
    .option('--weights <mode>', 'int8, int4, auto, nf4 or f32 [LORIKEET_WEIGHTS]')
    .option('--kv <format>', 'f16, int8 or f32 [LORIKEET_KV]')
    .option('--slots <number>', 'sequences that run at the same time [LORIKEET_SLOTS]')
    .option('--max-seq <number>', 'tokens of the longest sequence [LORIKEET_MAX_SEQ]')
    .option('--rank <number>', 'rank of an adapter', String(DEFAULT_RANK))
    .option('--targets <names>', 'its target modules, comma separated (default: all linears)')
    .option('--json', 'print the result as JSON, in bytes')
    .action(async ({ config: configFile, rank, targets, json, ...flags }: SizeFlags) => {
      const { measureSize } = await import('../compose/models.ts');
      const report = measureSize(loadConfig(flags), { configFile, rank, targets });
      const { shape, size, plan, need } = report;
      const all = { ...shape, ...size, need, memory: plan.budget };
      const tables = [sizeTable(report), budgetTable(report), needText(report)];
      const text = json ? JSON.stringify(all) : tables.join('\n');
      terminal.out(`${text}\n`);
    });
}

function sizeTable({ size, shape, hasAllTargets }: SizeReport): string {
  const { weights, kv, slots, maxSeq, rank, targets } = shape;
  const modules = hasAllTargets ? 'all linears' : targets.join(', ');
  const rows: [what: string, bytes: number, note: string][] = [
    [`base, ${weights}`, size.base, 'on disk, and memory-mapped'],
    [`cache of a token, ${kv}`, size.cacheToken, ''],
    [`cache of a sequence of ${maxSeq}`, size.cacheSlot, 'allocated as the sequence grows'],
    [`cache of ${slots} such sequences`, size.cache, 'at most'],
    [
      `adapter, rank ${rank}, ${modules}`,
      size.adapter,
      'in --adapter-cache, and on disk as float32',
    ],
    ['the same, attached', size.attached, 'in addition, for each adapter slot in use'],
  ];
  return bytesTable('size', rows);
}

function budgetTable({ plan: { budget, adapterCacheBytes } }: SizeReport): string {
  const { limit, totalBytes, parts } = budget;
  const processes =
    parts.server + parts.engine + parts.helpers + parts.tokenizer + parts.activations;
  return bytesTable('what a server may use', [
    ['base', parts.base, ''],
    ['processes', processes, 'server, engine, helpers, tokenizer, activations: measured'],
    ['cache', parts.kvCache, ''],
    ['prefix cache', parts.prefixCache, 'at most, allocated as prompts come'],
    ['adapters', adapterCacheBytes + parts.adapterSlots, 'in the cache and in slots, of any rank'],
    ['trainers', parts.trainers, 'left to them by --train-memory'],
    ['total', totalBytes, 'at most'],
    ['limit', limit.bytes, limit.source],
  ]);
}

/** The budget shows what the server may use. This shows what it needs, and what more memory would buy. */
function needText({ shape, size, need }: SizeReport): string {
  const { needed, sequences, most, more, cachedAdapters, runningAdapters, context } = need;
  const { slots, maxSeq, rank } = shape;
  const number = (value: number) => value.toLocaleString('en-US');
  const count = (of: number, name: string) => `${number(of)} ${name}${of === 1 ? '' : 's'}`;
  const parts: [bytes: number, what: string][] = [
    [more.sequences, `${count(slots, 'sequence')} instead of ${sequences}`],
    [more.prefixCache, 'cached prefixes'],
    [more.adapterCache, `${count(cachedAdapters, 'adapter')} in memory`],
    [more.adapterSlots, `${number(runningAdapters)} of them at the same time`],
  ];
  const bought = parts
    .filter(([bytes]) => bytes > 0)
    .map(([bytes, what]) => `${what} (${formatBytes(bytes)})`);
  const further =
    context.tokens > maxSeq
      ? ` A sequence of ${number(context.tokens)} tokens, the model's context, would take ${formatBytes(context.cache)}.`
      : '';
  const tooLarge =
    cachedAdapters === 0 ? ` It needs --adapter-cache ${formatBytes(size.adapter)}.` : '';
  const bounds =
    bought.length > 0 ? `, up to ${formatBytes(most)}: ${bought.join(', ')}` : ' nothing';
  return [
    `Needed: ${formatBytes(needed)} for ${count(sequences, 'sequence')} of ${number(maxSeq)} tokens and an adapter of rank ${rank}.${tooLarge}`,
    `More buys${bounds}.${further}`,
  ].join('\n');
}

function bytesTable(
  heading: string,
  rows: readonly (readonly [what: string, bytes: number, note: string])[],
): string {
  const cells = rows.map(([what, bytes, note]) => [what, formatBytes(bytes), note]);
  return formatTable([[heading, 'bytes', ''], ...cells]);
}

const IMPORT_EXAMPLES = `
Examples:
  lorikeet import smollm2-135m-instruct --out ./smollm2
  lorikeet import Qwen/Qwen2.5-0.5B-Instruct --out ./qwen --double-quantization false
  lorikeet import ./model.gguf --out ./base --quantization none --weights int4
  lorikeet import ./model.gguf --out ./base --rope-scaling '{"rope_type":"yarn","factor":4}'
`;
