// What is known of one answer before its first token, and what both ways of answering do with the connection.
import type { HttpBindings } from '@hono/node-server';
import type { Context } from 'hono';
import type { ResolvedModel } from '../../adapters/resolved.ts';
import type { Deps } from './deps.ts';
import type { AnswerHead, Endpoint } from './endpoint.ts';
import type { GenerationOptions, GenerationPlan, Receipt } from './generation.ts';
import type { HttpEnv } from './middleware/tenant.ts';

export interface AnswerPlan extends Omit<GenerationPlan, 'adapter'> {
  endpoint: Endpoint;
  model: ResolvedModel;
  /** Of all prompts, each once. */
  promptTokens: number;
  hasLogprobs: boolean;
  stream: { includeUsage: boolean } | undefined;
}

/** What both ways of answering need. */
export interface AnswerContext {
  c: Context<HttpEnv>;
  deps: Deps;
  plan: AnswerPlan & GenerationPlan;
  head: AnswerHead;
  generation: GenerationOptions;
}

/** What the engine said about the adapter that was used, as response headers. */
export function setReceipt(c: Context, model: ResolvedModel, { tier, loadMs }: Receipt): void {
  if (model.kind !== 'adapter') return;
  c.header('x-lorikeet-adapter', model.digest);
  if (tier !== undefined) c.header('x-lorikeet-tier', tier);
  if (loadMs !== undefined) c.header('x-lorikeet-load-ms', String(Math.round(loadMs)));
}

/** Cuts the connection; without a socket (an in-process request) there is nothing to cut. */
export function disconnect(c: Context): void {
  (c.env as Partial<HttpBindings> | undefined)?.outgoing?.destroy();
}

/** The client left before its answer began. */
export class ClientGone extends Error {
  override name = 'ClientGone';
}
