// Long prompts on a real base: facts are found at every depth, and the table shows speed by position and memory.
// LORIKEET_BASES names the folder of the base's GGUF file; LORIKEET_LONG_TOKENS lists the lengths (default: 8192).
import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { type TestContext, test } from 'node:test';
import { ask, fetchJson } from '../api.ts';
import { processorLine } from '../bench/processor.ts';
import { enginePidOf, statusKb } from '../processes.ts';
import { importLarger, skipWithoutBase } from './larger-base.ts';
import { serveFor } from './program.ts';
import { preparedHome } from './served.ts';

const lengths = (process.env['LORIKEET_LONG_TOKENS'] ?? '8192').split(',').map(Number);

/** The positions that the base was trained for. Longer texts need scaled rotary positions. */
const TRAINED_POSITIONS = 32_768;
/** Facts that the base itself misses beyond them: llama-server misses the same one of the five. */
const MISSED_BEYOND = 1;

/** Sentence, question and answer. Each sentence stands at the same distance from the next. */
const FACTS = [
  ['The harbour office opens at 7:45.', 'When does the harbour office open?', '7:45'],
  ['The ferry to Oslo is called Saga.', 'What is the ferry to Oslo called?', 'Saga'],
  ['The baker of the village is Mrs. Tanaka.', 'Who is the baker of the village?', 'Tanaka'],
  ['A ticket to the museum costs 18 dollars.', 'What does a ticket to the museum cost?', '18'],
  ['The gate of the castle is painted purple.', 'What color is the gate?', 'purple'],
] as const;
/** Tokens of the part of a prompt that one measurement covers. */
const PART_TOKENS = 2048;
/** Of the documentation, with this tokenizer. */
const CHARACTERS_PER_TOKEN = 3.3;
/** Questions, template and answers. */
const ROOM_TOKENS = 512;

interface Health {
  readonly memory: { readonly parts: { readonly kv_cache: number } };
}

interface Completion {
  readonly choices: readonly [{ readonly message: { readonly content: string } }];
  readonly usage: {
    readonly prompt_tokens: number;
    readonly prompt_tokens_details: { readonly cached_tokens: number };
  };
}

/** Returns text of this repository with the facts in it. */
function longText(characters: number): string {
  const pages = readdirSync('docs').filter((name) => name.endsWith('.md'));
  const text = pages.map((name) => readFileSync(path.join('docs', name), 'utf8')).join('\n');
  assert.ok(text.length > characters, 'the documentation is shorter than the prompt');
  const step = Math.floor(characters / FACTS.length);
  return FACTS.map(([fact], i) => {
    const [first, second] = [i * step, (i + 0.5) * step].map(Math.floor) as [number, number];
    return `${text.slice(first, second)}\n\n${fact}\n\n${text.slice(second, first + step)}`;
  }).join('');
}

/** Resolves with the questions that were not answered, and their answers. @param flags of the server */
async function readLongText(t: TestContext, tokens: number, flags: readonly string[]) {
  const maxSeq = tokens + ROOM_TOKENS;
  const dir = await importLarger(maxSeq > TRAINED_POSITIONS ? 'long' : 'usual');
  const args = ['--model', dir, '--slots', '1', '--max-seq', String(maxSeq), ...flags];
  const { url, child } = await serveFor(t, args, await preparedHome(dir, t));
  const chat = async (content: string, maxTokens: number) => {
    const startedMs = performance.now();
    const { choices, usage } = await ask<Completion>(`${url}/v1/chat/completions`, {
      ...{ model: 'base', temperature: 0, max_tokens: maxTokens },
      messages: [{ role: 'user', content }],
    });
    const seconds = (performance.now() - startedMs) / 1000;
    const { prompt_tokens: total, prompt_tokens_details } = usage;
    const cached = prompt_tokens_details.cached_tokens;
    return { answer: choices[0].message.content, total, computed: total - cached, seconds };
  };
  const text = longText(Math.floor(tokens * CHARACTERS_PER_TOKEN));
  const partLength = Math.ceil((text.length * PART_TOKENS) / tokens);
  const lines = ['| position | tokens/s |', '|---|---|'];
  for (let end = partLength; end - partLength < text.length; end += partLength) {
    const { total, computed, seconds } = await chat(text.slice(0, end), 1);
    lines.push(`| ${total} | ${(computed / seconds).toFixed(1)} |`);
    t.diagnostic(lines.at(-1)!);
  }
  const missed: string[] = [];
  for (const [, question, expected] of FACTS) {
    const { answer, computed, total } = await chat(`${text}\n\nQuestion: ${question}`, 32);
    assert.ok(computed < total / 4, `${computed} of ${total} tokens were computed again`);
    t.diagnostic(`${question} ${answer}`);
    if (!answer.includes(expected)) missed.push(`${question} ${answer}`);
  }
  const { memory } = await fetchJson<Health>(`${url}/health`);
  const mb = (bytes: number) => `${Math.round(bytes / 1e6)} MB`;
  const peak = 1024 * statusKb(enginePidOf(child.pid!)!, 'VmHWM');
  const cache = `keys and values of ${maxSeq} tokens take ${mb(memory.parts.kv_cache)}`;
  t.diagnostic([processorLine(), '', ...lines, '', `${cache}, the engine ${mb(peak)}`].join('\n'));
  return missed;
}

for (const tokens of lengths) {
  test(`facts are found at every depth of ${tokens} tokens, with keys and values in int8`, {
    skip: skipWithoutBase,
  }, async (t) => {
    const missed = await readLongText(t, tokens, ['--kv', 'int8']);
    assert.ok(missed.length <= (tokens > TRAINED_POSITIONS ? MISSED_BEYOND : 0), missed.join('\n'));
  });
}
