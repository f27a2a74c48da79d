// Runs a planned generation and responds with one JSON document or a stream. The status of a stream is sent once the engine has started
// or refused the first choice. An earlier error becomes an ordinary error response; a later one ends the stream with an error
// event and without [DONE].
import { randomUUID } from 'node:crypto';
import type { Context } from 'hono';
import {
  adapterIdentity,
  pinnedName,
  type ResolvedAdapter,
  type ResolvedModel,
} from '../../../adapters/registry/resolved.ts';
import { ServeError } from '../../common/errors.ts';
import type { AdapterUse, GenerationEvent } from '../../contracts/generation.ts';
import { toUnixSeconds } from '../../contracts/openai.ts';
import type { RequestObserver } from '../../telemetry/request-observer.ts';
import type { ShownAdapter } from '../../telemetry/telemetry.ts';
import { createStreamDecoder } from '../../tokenizer/stream-decoder.ts';
import { toServeError } from '../wire/errors.ts';
import { EVENT_STREAM } from '../wire/event-stream.ts';
import type { HttpLimits } from '../wire/limits.ts';
import { admitRequest, type HttpEnv } from '../wire/middleware.ts';
import { requestDeadline } from '../wire/route.ts';
import type {
  BackgroundKeeper,
  DocumentWriter,
  GenerationDeps,
  GenerationPlan,
  ResponseHead,
  TokenCounts,
} from './generation-plan.ts';
import { ClientGone, runSequences, type SequencesPlan } from './sequences.ts';
import { SseSink } from './sse-sink.ts';

/** Responds to a request. If the adapter's files have changed since they were read, retries once with the new files. */
export async function respond(
  c: Context<HttpEnv>,
  deps: GenerationDeps,
  plan: GenerationPlan,
): Promise<Response> {
  checkScores(plan, deps.limits);
  const { limitField } = plan.endpoint;
  await admitRequest(c, { tokens: maxTokens(plan), limitField }); // before any of its files are fetched
  try {
    return await respondOnce(c, deps, plan);
  } catch (error) {
    if (!hasChanged(error)) throw error;
    const resolved = await plan.model.resolveAgain();
    return respondOnce(c, deps, { ...plan, model: { ...plan.model, resolved } });
  }
}

/** The values that all steps of one response share. */
interface ResponseContext {
  c: Context<HttpEnv>;
  deps: GenerationDeps;
  plan: GenerationPlan & SequencesPlan;
  head: ResponseHead;
  observer: RequestObserver;
}

async function respondOnce(
  c: Context<HttpEnv>,
  deps: GenerationDeps,
  plan: GenerationPlan,
): Promise<Response> {
  const { endpoint } = plan;
  const model = plan.model.resolved;
  const signal = c.get('signal')!; // its time has been limited since it was admitted
  const id = `${endpoint.idPrefix}${randomUUID().replaceAll('-', '')}`;
  const observer = observe(c, deps, plan, id);
  const adapter =
    model.kind === 'adapter'
      ? await observer.acquire(() => deps.localAdapters.acquire(model, { signal }), signal)
      : undefined;
  const adapterPart = model.kind === 'adapter' ? model.digest.slice(0, 12) : 'base';
  const head = {
    id,
    created: toUnixSeconds(deps.now()),
    model: model.id,
    system_fingerprint: `${deps.model.baseDigest.slice(0, 12)}-${adapterPart}-${deps.client.model?.fingerprint ?? 'starting'}`,
  };
  const context: ResponseContext = { c, deps, plan: { ...plan, adapter }, head, observer };
  try {
    return await (plan.stream ? respondWithEvents(context) : respondWithDocument(context));
  } catch (error) {
    if (hasChanged(error)) adapter?.verifyAgain();
    throw error;
  }
}

async function respondWithDocument(context: ResponseContext): Promise<Response> {
  const { c, plan, head } = context;
  const document = plan.writer.createDocument(plan, head);
  if (document.background) return respondInBackground(context, document, document.background);
  const counts = await run(context, document, c.get('signal')!);
  const body = await document.end(counts);
  const isWritten = typeof body === 'string' || body instanceof Uint8Array;
  return isWritten ? c.body(body, 200, { 'content-type': 'application/json' }) : c.json(body);
}

/** Resolves when the engine has accepted the request and its document is kept. From then on, the generation needs no client. */
async function respondInBackground(
  context: ResponseContext,
  document: DocumentWriter,
  keeper: BackgroundKeeper,
): Promise<Response> {
  const { c, deps } = context;
  const cancellation = new AbortController();
  const late = requestDeadline(c, cancellation.signal);
  let start = () => {};
  const started = new Promise<void>((resolve) => {
    start = resolve;
  });
  const write = (event: GenerationEvent) => {
    document.write(event);
    if (event.type === 'started') start();
  };
  const ended = run(context, { write }, late.signal).finally(() => late[Symbol.dispose]());
  ended.catch(() => {}); // an error while the document is being kept is handled below
  let first: object;
  try {
    await Promise.race([started, ended]);
    first = await keeper.open(cancellation);
  } catch (error) {
    cancellation.abort();
    throw error;
  }
  c.set('isDetached', true);
  ended
    .then((counts) => document.end(counts))
    .catch((error: unknown) => {
      if (error instanceof ClientGone) return; // it was cancelled, and is kept as such
      return keeper.fail(toServeError(error, deps.log));
    })
    .catch((error: unknown) => deps.log.error({ err: error }, 'cannot keep a response'));
  return c.json(first);
}

/** Resolves when the status of the stream is known. The rest is written to the response's body. */
async function respondWithEvents(context: ResponseContext): Promise<Response> {
  const { c, deps, plan, head } = context;
  const reader = new AbortController();
  const sink = new SseSink(plan, {
    ...deps.limits,
    head,
    onGone: () => reader.abort(),
  });
  // The route's deadline ends with the route, which only waits for the status.
  const late = requestDeadline(c, AbortSignal.any([c.req.raw.signal, reader.signal]));
  const ended = run(context, sink, late.signal)
    .then((counts) => sink.end(counts))
    .catch((error: unknown) => {
      const isShown = sink.isOpen && !(error instanceof ClientGone);
      sink.fail(isShown ? toServeError(error, deps.log) : undefined);
      if (!sink.isOpen) throw error;
    })
    .finally(() => late[Symbol.dispose]());
  await Promise.race([sink.opened, ended]);
  return c.body(sink.body, 200, {
    'content-type': EVENT_STREAM,
    'cache-control': 'no-cache, no-transform',
    'x-accel-buffering': 'no', // otherwise nginx holds chunks back
  });
}

/**
 * Runs the generation into the sink and returns its token counts. In every case, reports the outcome to telemetry, the tenant's
 * limits and the usage log.
 */
async function run(
  { c, deps, plan, observer }: ResponseContext,
  sink: { write(event: GenerationEvent): void },
  signal: AbortSignal,
): Promise<TokenCounts> {
  const { promptTokens, model } = plan;
  let completionTokens = 0;
  /** Each prompt's tokens that its first choice did not compute. */
  const cachedByPrompt = new Map<readonly number[], number>();
  const cachedTokens = () => [...cachedByPrompt.values()].reduce((sum, count) => sum + count, 0);
  let adapterUse: AdapterUse | undefined;
  c.get('queueEntry')[Symbol.dispose](); // each choice has its own queue entry from here
  const events = runSequences(deps.client, plan, {
    maxInFlight: deps.limits.maxSequencesInFlight,
    createDecoder: (end) =>
      model.tokenizer ? createStreamDecoder(model.tokenizer, end) : TEXTLESS,
    signal,
    time: c.get('time'),
  });
  try {
    for await (const ready of events) {
      for (const event of ready) {
        observer.on(event);
        if (event.type === 'token') completionTokens++;
        if (event.type === 'admitted') {
          const { promptIds } = plan.choices[event.index]!.request;
          const least = cachedByPrompt.get(promptIds) ?? event.cachedTokens;
          cachedByPrompt.set(promptIds, Math.min(least, event.cachedTokens));
        }
        if (event.type === 'accepted') adapterUse ??= event.adapterUse;
        if (event.type === 'started') setAdapterHeaders(c, model.resolved, event.adapterUse);
        sink.write(event);
      }
      if (completionTokens > 0) c.get('reservation').use(promptTokens + completionTokens);
    }
    observer.completed();
    return { promptTokens, completionTokens, cachedTokens: cachedTokens() };
  } catch (error) {
    if (error instanceof ClientGone) observer.abandoned();
    else observer.failed(error);
    throw error;
  } finally {
    if (adapterUse) {
      c.get('reservation').end(promptTokens + completionTokens);
      const counts = { promptTokens, cachedTokens: cachedTokens(), completionTokens };
      reportUsage(c, deps, { plan, counts, tier: adapterUse.tier });
    }
  }
}

/** The decoder of a model without a tokenizer. */
const TEXTLESS = {
  push: () => ({ text: '', stopped: false }),
  end: () => '',
  stopString: undefined,
};

function hasChanged(error: unknown): boolean {
  return error instanceof ServeError && error.code === 'adapter_checksum_mismatch';
}

/** The most tokens that the response can use, prompts included. */
function maxTokens({ promptTokens, choices }: GenerationPlan): number {
  return choices.reduce((sum, { request }) => sum + request.maxTokens, promptTokens);
}

/** Throws `ServeError` if the response could contain more logprobs than the server holds in memory for it. */
function checkScores({ choices, logprobs, endpoint }: GenerationPlan, limits: HttpLimits): void {
  let [ofPrompts, ofCompletions] = [0, 0];
  for (const { request } of choices) {
    const {
      promptIds,
      promptTopLogprobs = -1,
      promptTargetIds = [],
      maxTokens,
      sampling,
    } = request;
    ofPrompts += promptIds.length * (1 + promptTopLogprobs);
    ofPrompts += promptTargetIds.reduce((sum, ids) => sum + ids.length, 0);
    ofCompletions += maxTokens * (1 + (sampling.topLogprobs ?? -1));
  }
  const { maxPromptLogprobs, maxCompletionLogprobs } = limits;
  if (ofPrompts > maxPromptLogprobs) {
    throw new ServeError(
      'invalid_request',
      `The prompts' tokens with their alternatives are ${ofPrompts} logprobs, and at most ${maxPromptLogprobs} are allowed. ` +
        'Ask for fewer alternatives, or send the prompts in several requests.',
      { param: logprobs.prompt === undefined ? 'logprobs' : 'prompt_logprobs' },
    );
  }
  if (ofCompletions <= maxCompletionLogprobs) return;
  throw new ServeError(
    'invalid_request',
    `The answer's tokens with their alternatives may be ${ofCompletions} logprobs, and at most ${maxCompletionLogprobs} are allowed. ` +
      `Lower ${endpoint.limitField}, or ask for fewer alternatives or choices.`,
    { param: endpoint.limitField },
  );
}

/** Reports the adapter, and the tier that held it, in response headers. */
function setAdapterHeaders(c: Context, model: ResolvedModel, { tier, loadMs }: AdapterUse): void {
  if (model.kind !== 'adapter') return;
  const { digest, parts } = model;
  const published = parts.flatMap(({ location }) => (location.kind === 'version' ? location : []));
  const aliases = published.flatMap(({ alias }) => alias ?? []);
  c.header('x-lorikeet-adapter', digest);
  if (published.length > 0) c.header('x-lorikeet-version', pinnedName(parts));
  if (aliases.length > 0) c.header('x-lorikeet-alias', aliases.join(', '));
  if (tier !== undefined) c.header('x-lorikeet-tier', tier);
  if (loadMs !== undefined) c.header('x-lorikeet-load-ms', String(Math.round(loadMs)));
}

/** Logs which tenant used how many tokens with which adapter, and adds them to its usage. No text is logged. */
function reportUsage(
  c: Context<HttpEnv>,
  { log, usage, model: base }: GenerationDeps,
  { plan, counts, tier }: { plan: GenerationPlan; counts: TokenCounts; tier: string | undefined },
): void {
  const { requestId, tenant } = c.var;
  const { resolved } = plan.model;
  const adapter = resolved.kind === 'adapter' ? resolved : undefined;
  const digest = adapter?.digest ?? null;
  log.info({ requestId, tenant: tenant.id, adapter: digest, tier, ...counts }, 'usage');
  usage?.recorder.add({
    tenant: tenant.id,
    model: adapter ? toShownAdapter(adapter).name : base.id,
    isBatch: tenant.isIdle === true,
    inputTokens: counts.promptTokens,
    cachedTokens: counts.cachedTokens,
    outputTokens: counts.completionTokens,
  });
}

/** Starts to observe the response. Telemetry gets names, counts and settings, never the text of a prompt or completion. */
function observe(
  c: Context<HttpEnv>,
  { telemetry, model: base }: GenerationDeps,
  { endpoint, model: { resolved: model }, choices, promptTokens, stream }: GenerationPlan,
  responseId: string,
): RequestObserver {
  const isAdapter = model.kind === 'adapter';
  const { sampling, maxTokens, pooling } = choices[0]!.request;
  return telemetry.observe(c.get('exchange'), {
    operation: endpoint.operation,
    requestId: c.get('requestId'),
    tenant: c.get('tenant').id,
    isIdle: c.get('tenant').isIdle,
    requestModel: model.id,
    responseModel: isAdapter ? `${base.id}+${model.digest.slice(0, 12)}` : base.id,
    ...(isAdapter ? { adapterDigest: model.digest, adapter: toShownAdapter(model) } : {}),
    promptTokens,
    responseId,
    isStream: stream !== undefined,
    choiceCount: choices.length,
    ...(pooling ? {} : { sampling: { ...sampling, maxTokens } }),
  });
}

/** Compositions share one name, because their number is unbounded. */
function toShownAdapter({ parts }: ResolvedAdapter): ShownAdapter {
  const key = adapterIdentity(parts);
  const { owner, name, location } = parts[0]!;
  if (parts.length > 1) return { key, owner, name: 'composition' };
  const version = location.kind === 'version' ? location.manifest.version : undefined;
  return { key, owner, name, version };
}
