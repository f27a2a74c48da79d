// `npm run bench:attacks`: what each attack costs the streams of another tenant: the time between tokens with the attack
// and without it, in rounds that take turns. For a quiet machine; as root on Linux also with a full disk. Arguments:
// --model DIR  --rounds N  --seconds N  --streams N  --tokens N  --only ATTACK,…

import { execFileSync, fork } from 'node:child_process';
import { once } from 'node:events';
import { copyFileSync, mkdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { TARGETS_OF } from '../../src/model/target-modules.ts';
import { createKey, type Serving, startServing } from '../e2e/program.ts';
import { givenOrFetched } from '../e2e/served.ts';
import { readOptions } from '../options.ts';
import { scratchFolder } from '../scratch.ts';
import { writeAdapters } from './adapters.ts';
import {
  ATTACKS,
  type Attack,
  PATTERN_ADAPTERS,
  patternAdapter,
  type Target,
  WIDE_ADAPTER,
} from './attacks/attacks.ts';
import { readDecoder } from './base.ts';
import { processorLine } from './processor.ts';
import { median, quantile } from './quantile.ts';
import { keepAsking } from './tiers/stream.ts';

const { model, rounds, seconds, streams, tokens, only } = readOptions({
  model: undefined,
  rounds: 4,
  seconds: 8,
  streams: 2,
  tokens: 96,
  only: undefined,
});
/** Of the p95 between tokens. */
const TARGET_RATIO = 1.5;
const SMALL_DISK_BYTES = 2 ** 20;
const WIDE_RANK = 512;
/** Fills an `adapter_config.json` of most of a MiB with patterns that are slow to compile. */
const PATTERNS = 380;
const PATTERN_LENGTH = 2500;

interface Measured {
  readonly attack: Attack;
  readonly aloneMs: number[];
  readonly besideMs: number[];
  readonly outcomes: Record<string, number>;
}

const scratch = scratchFolder();
const uploads = path.join(scratch, 'cache', 'uploads');
const hasSmallDisk = mountSmallDisk();
try {
  const attacks = chooseAttacks();
  const base = await givenOrFetched(model && path.resolve(model));
  const keyOf = async (tenant: string) => (await createKey(tenant, scratch)).key;
  const [goodKey, key] = [await keyOf('good'), await keyOf('attacker')];
  const adapters = writeAttackAdapters(base);
  const server = await startServing(['--model', base, '--adapters', adapters], scratch);
  try {
    const rows: Measured[] = [];
    await serveRound(server, goodKey); // warm
    for (const attack of attacks) {
      rows.push(await measure(server, attack, { goodKey, target: { url: server.url, key } }));
    }
    process.stdout.write(`${toMarkdown(rows)}\n`);
  } finally {
    await server.stop();
  }
} finally {
  if (hasSmallDisk) execFileSync('umount', [uploads]);
}

function chooseAttacks(): Attack[] {
  const names = only?.split(',');
  return ATTACKS.filter(({ name, needs }) => {
    if (names && !names.includes(name)) return false;
    if (needs === undefined || hasSmallDisk) return true;
    process.stderr.write(`skipped: ${name} needs ${needs}, which only root can mount on Linux\n`);
    return false;
  });
}

function mountSmallDisk(): boolean {
  if (process.platform !== 'linux' || process.getuid?.() !== 0) return false;
  mkdirSync(uploads, { recursive: true });
  execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${SMALL_DISK_BYTES}`, 'tmpfs', uploads]);
  return true;
}

/** One adapter of the largest rank, and many whose settings are costly to read. */
function writeAttackAdapters(base: string): string {
  const root = path.join(scratch, 'attack-adapters');
  const config = readDecoder(base);
  const wide = {
    label: WIDE_ADAPTER.replace(/-0$/, ''),
    rank: WIDE_RANK,
    targets: TARGETS_OF.separate,
  };
  writeAdapters(root, config, { shape: wide, count: 1 });
  const narrow = { label: 'narrow', rank: 4, targets: ['q_proj'] as const };
  const [name] = writeAdapters(root, config, { shape: narrow, count: 1 });
  for (let i = 0; i < PATTERN_ADAPTERS; i++) {
    const folder = path.join(root, patternAdapter(i));
    mkdirSync(folder);
    const weights = 'adapter_model.safetensors';
    copyFileSync(path.join(root, name!, weights), path.join(folder, weights));
    const rank_pattern = Object.fromEntries(
      Array.from({ length: PATTERNS }, (_, j) => [
        `(?i)[${'\\pL'.repeat(PATTERN_LENGTH / 3)}]${i}_${j}`,
        4,
      ]),
    );
    const settings = { peft_type: 'LORA', r: 4, lora_alpha: 4, target_modules: ['q_proj'] };
    writeFileSync(
      path.join(folder, 'adapter_config.json'),
      JSON.stringify({ ...settings, rank_pattern }),
    );
  }
  return root;
}

async function measure(
  server: Serving,
  attack: Attack,
  { goodKey, target }: { goodKey: string; target: Target },
): Promise<Measured> {
  const measured: Measured = { attack, aloneMs: [], besideMs: [], outcomes: {} };
  for (let round = 0; round < rounds; round++) {
    // The first of a pair in every other round.
    const order = round % 2 === 0 ? (['beside', 'alone'] as const) : (['alone', 'beside'] as const);
    for (const kind of order) {
      const p95Ms =
        kind === 'alone'
          ? await serveRound(server, goodKey)
          : await serveBeside(attack, { target, outcomes: measured.outcomes }, () =>
              serveRound(server, goodKey),
            );
      (kind === 'alone' ? measured.aloneMs : measured.besideMs).push(p95Ms);
      process.stderr.write(
        `${attack.name}, round ${round + 1}, ${kind}: p95 ${p95Ms.toFixed(1)} ms\n`,
      );
    }
  }
  return measured;
}

/**
 * Runs good streams, one after the other, for the time of a round. Throws if one does not get to its end. Returns the
 * p95 between tokens, in ms.
 */
async function serveRound({ url }: Serving, key: string): Promise<number> {
  const gapsMs: number[] = [];
  const endMs = performance.now() + seconds * 1000;
  let asked = 0;
  await keepAsking(url, streams, {
    next() {
      if (performance.now() > endMs) return undefined;
      return { model: 'base', maxTokens: tokens, seed: ++asked, key };
    },
    onAnswer: (answer) => void gapsMs.push(...answer.gapsMs),
  });
  return quantile(gapsMs, 0.95);
}

async function serveBeside(
  { name }: Attack,
  { target, outcomes }: Pick<Measured, 'outcomes'> & { target: Target },
  work: () => Promise<number>,
): Promise<number> {
  const program = path.resolve('test/bench/attacks/attack-program.ts');
  const attacker = fork(program, [name, JSON.stringify(target)]);
  const ended = once(attacker, 'exit');
  try {
    await once(attacker, 'message'); // it has begun
    const p95Ms = await work();
    attacker.send('stop');
    const [told] = (await once(attacker, 'message')) as [Record<string, number>];
    for (const [outcome, count] of Object.entries(told)) {
      outcomes[outcome] = (outcomes[outcome] ?? 0) + count;
    }
    return p95Ms;
  } finally {
    attacker.kill('SIGKILL');
    await ended;
  }
}

/** Medians over the rounds; the ratio is the median of each pair's. */
function toMarkdown(measured: readonly Measured[]): string {
  const rows = measured.map(({ attack, aloneMs, besideMs, outcomes }) => {
    const ratio = median(besideMs.map((ms, i) => ms / aloneMs[i]!))!;
    const answers = Object.entries(outcomes).map(([outcome, count]) => `${count} x ${outcome}`);
    const verdict = ratio <= TARGET_RATIO ? 'yes' : '**no**';
    const figures = [median(aloneMs)!.toFixed(1), median(besideMs)!.toFixed(1), ratio.toFixed(2)];
    return `| ${[attack.name, ...figures, verdict, answers.join(', ') || '-'].join(' | ')} |`;
  });
  return [
    processorLine(),
    `${streams} streams of ${tokens} tokens of another tenant, ${rounds} rounds of ${seconds} s; every stream ran to its end.`,
    '',
    `| attack | p95 between tokens alone, ms | beside it, ms | ratio | at most ${TARGET_RATIO} x | the attacker's answers |`,
    '|---|---|---|---|---|---|',
    ...rows,
  ].join('\n');
}
