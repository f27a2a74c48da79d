// `npm run bench:drafts`: one stream with and without drafts on the same engine, in this process. Eight prompts whose answers
// copy, and eight whose answers do not; without penalties. The two take turns at each prompt.
// Arguments: --model NAME|DIR  --weights FORM  --temperature T (default 0)  --rounds N  --tokens N

import path from 'node:path';
import { loadBaseText } from '../../src/compose/served-model.ts';
import { type GenerationRequest, GREEDY } from '../../src/contracts/generation.ts';
import { Engine } from '../../src/engine/engine.ts';
import type { WeightsMode } from '../../src/model/serving-weights.ts';
import { NgramProposer } from '../../src/scheduler/drafter.ts';
import { loadConfig } from '../../src/settings/config.ts';
import { defaultServing } from '../default-serving.ts';
import { readOptions } from '../options.ts';
import { generate, tokensOf } from '../scheduler/generate.ts';
import { findModel } from './base.ts';
import { COPY_PROMPTS, FREE_PROMPTS } from './draft-prompts.ts';
import { quantile } from './quantile.ts';

const MAX_SEQ = 1024;
/** All copying prompts together, and each free one. */
const TARGETS = { copy: 1.6, free: 0.95 };

const options = readOptions({
  model: 'smollm2-135m-instruct-q4',
  weights: undefined,
  temperature: 0,
  rounds: 3,
  tokens: 128,
});

/** Milliseconds per token by round, prefill included. */
interface Measured {
  readonly drafts: number[];
  readonly none: number[];
  /** The share of draft tokens that were accepted. */
  acceptance: number;
}

await main();

async function main(): Promise<void> {
  const dir = findModel(options.model);
  const engine = await openEngine(dir);
  const toRequest = await requestMaker(dir);
  const table = [
    '| prompt | tok/s without | with drafts | ratio | accepted |',
    '|---|---|---|---|---|',
  ];
  const ratios: Record<string, number[]> = {};
  const totals: string[] = [];
  for (const [kind, prompts] of Object.entries({ copy: COPY_PROMPTS, free: FREE_PROMPTS })) {
    const times = { drafts: 0, none: 0 };
    ratios[kind] = [];
    for (const [i, content] of prompts.entries()) {
      const measured = await measurePrompt(engine, toRequest(content));
      const [drafts, none] = [quantile(measured.drafts, 0.5), quantile(measured.none, 0.5)];
      times.drafts += drafts;
      times.none += none;
      ratios[kind].push(none / drafts);
      const cells = [1000 / none, 1000 / drafts].map((rate) => rate.toFixed(1));
      const share = `${Math.round(100 * measured.acceptance)} %`;
      table.push(
        `| ${[`${kind} ${i + 1}`, ...cells, (none / drafts).toFixed(2), share].join(' | ')} |`,
      );
    }
    totals.push(`${kind}: ${(times.none / times.drafts).toFixed(2)} x in all`);
  }
  await engine.release();
  const worst = Math.min(...ratios['free']!).toFixed(2);
  const targets = `targets: copy at least ${TARGETS.copy} x in all, each free one at least ${TARGETS.free} x`;
  const lines = [...table, '', `${totals.join(', ')}, worst free ${worst} x (${targets})`];
  process.stdout.write(`${lines.join('\n')}\n`);
}

async function openEngine(dir: string): Promise<Engine> {
  const config = loadConfig();
  const weights = (options.weights ?? config.weights) as WeightsMode;
  const serving = await defaultServing(dir, { weights, cacheDir: path.join(config.home, 'cache') });
  return Engine.create({ ...serving, slotCount: 1, maxSeqLength: MAX_SEQ });
}

async function requestMaker(dir: string): Promise<(content: string) => GenerationRequest> {
  const { tokenizer, chatTemplate } = await loadBaseText(dir);
  if (!tokenizer || !chatTemplate) throw new Error(`${dir} has no chat template`);
  return (content) => ({
    promptIds: chatTemplate.render([{ role: 'user', content }], { addGenerationPrompt: true }).ids,
    maxTokens: options.tokens,
    stopTokenIds: tokenizer.eosTokenIds,
    sampling: { ...GREEDY, temperature: options.temperature },
  });
}

async function measurePrompt(engine: Engine, request: GenerationRequest): Promise<Measured> {
  const measured: Measured = { drafts: [], none: [], acceptance: 0 };
  const run = async (kind: 'drafts' | 'none') => {
    const proposer = kind === 'drafts' ? new NgramProposer(request.promptIds) : undefined;
    const startedMs = performance.now();
    const { events, stats } = await generate(engine, [{ request, proposer }]);
    measured[kind].push((performance.now() - startedMs) / tokensOf(events[0]!).length);
    if (stats.draftTokens > 0) measured.acceptance = stats.acceptedDraftTokens / stats.draftTokens;
  };
  for (let round = 0; round < options.rounds; round++) {
    const kinds = ['drafts', 'none'] as const;
    for (const kind of round % 2 === 0 ? kinds : kinds.toReversed()) await run(kind);
  }
  return measured;
}
