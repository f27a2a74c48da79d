// Sends one request of a plan and reads its answer as the plan says: to its end, slowly, or not to its end.
import { type Agent, type ClientRequest, type IncomingMessage, request } from 'node:http';
import { setTimeout as delay } from 'node:timers/promises';
import { type Case, CHAT, COMPLETIONS } from '../http/corpus/case.ts';
import { FIELDS } from '../http/corpus/fields.ts';
import { TRANSPORT } from '../http/corpus/transport.ts';
import {
  type Asked,
  type Ending,
  goldenKey,
  type Outcome,
  promptOf,
  type Source,
} from './traffic.ts';

/** Where and how requests are sent. */
export interface Line {
  readonly url: string;
  readonly agent: Agent;
  readonly golden: Readonly<Record<string, string>>;
  /** Aborted when the time for answers is over. */
  readonly over: AbortSignal;
}

export interface Due {
  readonly source: Source;
  readonly asked: Asked;
  /** Unix milliseconds. */
  readonly dueMs: number;
}

/** Bodies that any base refuses. */
const BAD = [...TRANSPORT, ...FIELDS].filter(
  ({ method = 'POST', with: members, expect: [status] }) =>
    status >= 400 && status < 500 && method === 'POST' && !dependsOnVocabulary(members),
);

/** Whether a base with more tokens than the test's may accept these fields. */
function dependsOnVocabulary(members: Case['with'] = {}): boolean {
  const { logit_bias, stop_token_ids, allowed_token_ids, prompt } = members as FieldsOfIds;
  const ids = Array.isArray(prompt) ? prompt.flat() : [];
  const areIds = ids.length > 0 && ids.every((id) => Number.isSafeInteger(id) && id >= 0);
  return [logit_bias, stop_token_ids, allowed_token_ids].some(Boolean) || areIds;
}

type FieldsOfIds = Partial<
  Record<'logit_bias' | 'stop_token_ids' | 'allowed_token_ids' | 'prompt', unknown>
>;

/** Between two pieces of an answer that is read slowly. */
const SLOW_PAUSE_MS = 250;
/** Choices of an answer that is read slowly, so that it is larger than others. */
const SLOW_CHOICES = 2;

/** The clock of all outcomes: Unix milliseconds, monotonic within a process. */
export const nowMs = () => performance.timeOrigin + performance.now();

/** Sends the request; resolves with what came of it, and never rejects. */
export async function exchange(line: Line, due: Due): Promise<Outcome> {
  const { source, asked } = due;
  const answer = new Answer();
  const sentMs = nowMs();
  let outgoing: ClientRequest | undefined;
  const onOver = () => outgoing?.destroy(new Error('hung'));
  line.over.addEventListener('abort', onOver, { once: true });
  let ending: Ending;
  try {
    const { path, headers, body } = toHttp(due);
    outgoing = request(`${line.url}${path}`, {
      method: 'POST',
      agent: line.agent,
      headers: {
        ...headers,
        ...(source.key !== undefined && { authorization: `Bearer ${source.key}` }),
      },
    });
    outgoing.end(body);
    ending = await answer.read(outgoing, asked);
  } catch (error) {
    ending = line.over.aborted ? 'hung' : answer.endingOf(error as NodeJS.ErrnoException);
  } finally {
    line.over.removeEventListener('abort', onOver);
  }
  const wanted = line.golden[goldenKey(answer.digest, asked.prompt)];
  return {
    ...{ source: source.name, kind: asked.kind, model: asked.model, ending },
    ...{ dueMs: due.dueMs, sentMs, endMs: nowMs(), tokens: answer.tokens },
    ...(answer.firstMs !== undefined && { firstMs: answer.firstMs }),
    ...(answer.status !== undefined && { status: answer.status }),
    ...(answer.code !== undefined && { code: answer.code }),
    ...(answer.retryAfterS !== undefined && { retryAfterS: answer.retryAfterS }),
    ...(ending === 'done' &&
      asked.kind === 'good' &&
      wanted !== undefined && { isRight: answer.text === wanted }),
  };
}

interface HttpRequest {
  readonly path: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string | Uint8Array;
}

const JSON_TYPE = { 'content-type': 'application/json' };

function toHttp({ source, asked }: Due): HttpRequest {
  if (asked.kind === 'bad') return toBadHttp(BAD[asked.prompt % BAD.length]!);
  const { text, tokens } = promptOf(source, asked.prompt);
  const body = JSON.stringify({
    ...{ model: asked.model, prompt: text, max_tokens: tokens, temperature: 0, ignore_eos: true },
    ...(asked.isStreamed && { stream: true, stream_options: { include_usage: true } }),
    ...(asked.kind === 'slow' && { n: SLOW_CHOICES, logprobs: 20, temperature: 1 }),
  });
  return { path: COMPLETIONS, headers: JSON_TYPE, body };
}

function toBadHttp({ path = COMPLETIONS, headers, raw, with: members }: Case): HttpRequest {
  const prompt = path === CHAT ? { messages: [{ role: 'user', content: 'a' }] } : { prompt: 'a' };
  const body = raw ?? JSON.stringify({ model: 'base', max_tokens: 1, ...prompt, ...members });
  return { path, headers: headers ?? JSON_TYPE, body };
}

/** What is known of an answer so far. */
class Answer {
  status: number | undefined;
  code: string | undefined;
  retryAfterS: number | undefined;
  digest: string | undefined;
  firstMs: number | undefined;
  tokens = 0;
  text = '';

  async read(outgoing: ClientRequest, { kind, isStreamed }: Asked): Promise<Ending> {
    const response = await new Promise<IncomingMessage>((resolve, reject) => {
      outgoing.once('response', resolve);
      outgoing.once('error', reject);
    });
    outgoing.on('error', () => {}); // the response says so, too
    this.status = response.statusCode!;
    this.digest = response.headers['x-lorikeet-adapter'] as string | undefined;
    const retryAfter = response.headers['retry-after'];
    if (retryAfter !== undefined) this.retryAfterS = Number(retryAfter);
    if (this.status !== 200 || !isStreamed) return this.#readWhole(response);
    let rest = '';
    for await (const chunk of response.setEncoding('utf8')) {
      const events = (rest + chunk).split('\n\n');
      rest = events.pop()!;
      for (const event of events) {
        if (event === 'data: [DONE]') return 'done';
        if (event.startsWith('data: ')) this.#apply(JSON.parse(event.slice(6)));
      }
      if (this.code !== undefined) return 'failed';
      if (kind === 'abort') {
        response.destroy();
        return 'left';
      }
      if (kind === 'slow') await delay(SLOW_PAUSE_MS);
    }
    return 'cut';
  }

  endingOf({ code }: NodeJS.ErrnoException): Ending {
    if (this.status !== undefined) return 'cut';
    return code === 'ECONNREFUSED' ? 'unreachable' : 'reset';
  }

  async #readWhole(response: IncomingMessage): Promise<Ending> {
    let body = '';
    for await (const chunk of response.setEncoding('utf8')) body += chunk;
    const { error, choices, usage } = JSON.parse(body) as Event;
    if (error) {
      this.code = error.code ?? 'none';
      return 'refused';
    }
    this.#apply({ ...(choices && { choices }), ...(usage && { usage }) });
    return 'done';
  }

  #apply({ choices, usage, error }: Event): void {
    if (error) this.code = error.code ?? 'none';
    const [choice] = choices ?? [];
    if (choice) this.firstMs ??= nowMs();
    this.text += choice?.text ?? '';
    this.tokens = usage?.completion_tokens ?? this.tokens;
  }
}

interface Event {
  readonly choices?: readonly { readonly text: string }[];
  readonly usage?: { readonly completion_tokens: number } | null;
  readonly error?: { readonly code: string | null };
}
