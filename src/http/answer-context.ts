// What is known of one answer before its first token, and what both ways of answering do with the connection.
import type { HttpBindings } from '@hono/node-server';
import type { Context } from 'hono';
import { pinnedName, type ResolvedModel } from '../../adapters/registry/resolved.ts';
import type { Deps } from './deps.ts';
import type { AnswerHead, Endpoint } from './endpoint.ts';
import type { GenerationOptions, GenerationPlan, Receipt } from './generation.ts';
import type { HttpEnv } from './middleware/tenant.ts';
import type { StreamPlan } from './stream-plan.ts';

export interface AnswerPlan extends Omit<GenerationPlan, 'adapter'> {
  endpoint: Endpoint;
  model: ResolvedModel;
  /** What the same name stands for now. */
  resolveAgain(): Promise<ResolvedModel>;
  /** Of all prompts, each once. */
  promptTokens: number;
  logprobs: {
    /** Whether the answer's tokens are scored. */
    isShown: boolean;
    /** Whether tokens are written as `token_id:N`. */
    byId: boolean;
    /** Alternatives of the echoed prompt's tokens; undefined: they are not scored. */
    echoed: number | undefined;
    /** Alternatives in prompt_logprobs; undefined: there is none. */
    prompt: number | undefined;
  };
  stream: StreamPlan | undefined;
}

/** What both ways of answering need. */
export interface AnswerContext {
  c: Context<HttpEnv>;
  deps: Deps;
  plan: AnswerPlan & GenerationPlan;
  head: AnswerHead;
  generation: GenerationOptions;
}

/** What was served, and where the adapter came from, as response headers. */
export function setReceipt(c: Context, model: ResolvedModel, { tier, loadMs }: Receipt): void {
  if (model.kind !== 'adapter') return;
  const { digest, parts } = model;
  const places = parts.map(({ place }) => (place.kind === 'version' ? place : undefined));
  const aliases = places.flatMap((place) => place?.alias ?? []);
  c.header('x-lorikeet-adapter', digest);
  if (places.some((place) => place)) c.header('x-lorikeet-version', pinnedName(parts));
  if (aliases.length > 0) c.header('x-lorikeet-alias', aliases.join(', '));
  if (tier !== undefined) c.header('x-lorikeet-tier', tier);
  if (loadMs !== undefined) c.header('x-lorikeet-load-ms', String(Math.round(loadMs)));
}

/** Who used what and how much of it: what a bill is made of, and nothing of what was said. */
export function logUsage(
  { c, deps, plan }: AnswerContext,
  completionTokens: number,
  { tier }: Receipt,
): void {
  const { tenant, model, promptTokens } = plan;
  const adapter = model.kind === 'adapter' ? model.digest : null;
  const requestId = c.get('requestId');
  const of = { requestId, tenant: tenant.id, adapter, tier };
  deps.log.info({ ...of, promptTokens, completionTokens }, 'usage');
}

/** Cuts the connection; without a socket (an in-process request) there is nothing to cut. */
export function disconnect(c: Context): void {
  (c.env as Partial<HttpBindings> | undefined)?.outgoing?.destroy();
}

/** The client left before its answer began. */
export class ClientGone extends Error {
  override name = 'ClientGone';
}
