// The worker process that encodes prompts for `long-prompts.ts`. It ends when the channel to its parent closes.
import { assert } from '../common/assert.ts';
import { ServeError } from '../common/errors.ts';
import { serveJobs } from '../common/job-process.ts';
import { loadTokenizer } from '../tokenizer/tokenizer.ts';
import type { PromptJob, PromptModel, PromptResult } from './long-prompts.ts';
import { createToolTemplate } from './tool-template.ts';

serveJobs(encode);

/** All jobs are for the same base, and run one at a time. */
let language: Awaited<ReturnType<typeof loadLanguage>> | undefined;

async function loadLanguage({ directory, toolFormat }: PromptModel) {
  const tokenizer = await loadTokenizer(directory);
  assert(tokenizer, 'the model has a tokenizer');
  return { tokenizer, template: createToolTemplate(tokenizer, toolFormat) };
}

/** Returns tokenizer and template with an adapter's tokens. The server has already built the same tokenizer successfully. */
async function languageOf(job: PromptModel): Promise<NonNullable<typeof language>> {
  language ??= await loadLanguage(job);
  if (!job.added) return language;
  const tokenizer = language.tokenizer.extended(job.added);
  return { tokenizer, template: language.template?.extended(tokenizer) };
}

async function encode(job: PromptJob): Promise<PromptResult> {
  const { tokenizer, template } = await languageOf(job);
  try {
    if ('text' in job) {
      const { text, affixes } = job;
      return { ids: Uint32Array.from(tokenizer.encode(text, { specials: false, affixes })) };
    }
    assert(template, 'the model has a chat template');
    return { ids: Uint32Array.from(template.render(job.messages, job.options).ids) };
  } catch (error) {
    if (!(error instanceof ServeError)) throw error;
    return { error: error.toPlain() };
  }
}
