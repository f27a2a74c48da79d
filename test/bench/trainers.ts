// The trainers that are compared, each case in a process of its own: its peak memory is that case's alone. Both do one
// step that is not counted, then as many as asked: LoRA of rank 16 on all linears.
import { execFile } from 'node:child_process';
import { mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import path from 'node:path';
import { promisify } from 'node:util';
import { seededRandom } from '../fixtures.ts';

const run = promisify(execFile);

const RANK = 16;
const THREADS = availableParallelism();

export interface TrainCase {
  readonly method: 'lora' | 'qlora';
  /** Of `lorikeet train`; peft computes in float32. */
  readonly compute: 'float32' | 'int8';
  /** Activations are computed again in the backward pass: peft's gradient checkpointing. */
  readonly recompute: boolean;
  readonly rows: number;
  /** The most tokens of a row. */
  readonly length: number;
  /** A JSONL file whose first rows are trained, answers only. Absent: random rows, all of their tokens. */
  readonly chat?: string;
  /** Optimizer steps that are counted. */
  readonly steps: number;
}

export interface TrainResult {
  /** Mean over the counted steps; padding is not counted. */
  readonly tokensPerS: number;
  readonly peakMb: number;
}

/** `lorikeet train`, as a user runs it. @param scratch where the job and its run are written */
export async function measureLorikeet(
  modelDir: string,
  { method, compute, recompute, rows, length, chat, steps }: TrainCase,
  scratch: string,
): Promise<TrainResult> {
  const dir = mkdtempSync(path.join(scratch, 'run-'));
  const data = path.join(dir, 'rows.jsonl');
  writeFileSync(data, chat ? firstRows(chat, rows) : randomRows(rows, length));
  const job = {
    ...{
      model: modelDir,
      data,
      method,
      compute,
      recompute,
      rank: RANK,
      alpha: 2 * RANK,
      threads: THREADS,
    },
    ...{ batchSize: rows, maxLength: length, shuffle: false, maxSteps: steps + 1 },
    ...{ learningRate: 1e-4, schedule: 'constant', warmupSteps: 0, checkpointEvery: steps + 1 },
  };
  const jobFile = path.join(dir, 'job.json');
  writeFileSync(jobFile, JSON.stringify(job));
  const out = path.join(dir, 'out');
  await run(process.execPath, ['bin/lorikeet.mjs', 'train', jobFile, '--out', out]);
  const counted = readLines(path.join(out, 'metrics.jsonl')).slice(1) as {
    tokens: number;
    tokensPerSecond: number;
  }[];
  // The template's newline after an answer is computed but not learned, and peft's rows end before it.
  const uncounted = chat ? rows * counted.length : 0;
  const tokens = counted.reduce((sum, row) => sum + row.tokens, 0) - uncounted;
  const seconds = counted.reduce((sum, row) => sum + row.tokens / row.tokensPerSecond, 0);
  const { data: end } = readLines(path.join(out, 'events.jsonl')).at(-1) as {
    data: { peakBytes: number };
  };
  return { tokensPerS: tokens / seconds, peakMb: end.peakBytes / 2 ** 20 };
}

export interface PeftOptions {
  readonly python: string;
  /** `baseline_peft.py` */
  readonly script: string;
  /** An unquantized Hugging Face folder. */
  readonly baseDir: string;
}

/** torch and peft in float32; for `qlora` with bitsandbytes. */
export async function measurePeft(
  { python, script, baseDir }: PeftOptions,
  { method, recompute, rows, length, chat, steps }: TrainCase,
): Promise<TrainResult> {
  const mode = `${method === 'lora' ? 'fp32' : 'bnb4'}${recompute ? '+ckpt' : ''}`;
  const sizes = [rows, length, steps].map(String);
  const { stdout } = await run(python, [script, 'train', mode, ...sizes, ...(chat ? [chat] : [])], {
    env: { ...process.env, BASE: baseDir, THREADS: String(THREADS), HF_HUB_OFFLINE: '1' },
  });
  const result = JSON.parse(stdout.trim().split('\n').at(-1)!);
  return { tokensPerS: result.tok_s_mean, peakMb: result.peak_rss_mib };
}

function firstRows(file: string, count: number): string {
  return `${readFileSync(file, 'utf8').split('\n').slice(0, count).join('\n')}\n`;
}

/** Speed does not depend on what the tokens are. */
function randomRows(count: number, length: number): string {
  const random = seededRandom(0); // -1 to 1
  return Array.from({ length: count }, () => {
    const ids = Array.from({ length }, () => Math.floor(10 + 20_000 * (random() + 1)));
    return `${JSON.stringify({ input_ids: ids, labels: ids })}\n`;
  }).join('');
}

function readLines(file: string): unknown[] {
  const lines = readFileSync(file, 'utf8').trim().split('\n');
  return lines.map((line) => JSON.parse(line));
}
