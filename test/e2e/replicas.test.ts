// Three servers on one bucket, without a coordinator, behind HAProxy: they are ended and killed under load, and every
// request that was accepted ends, with the text that it has on a machine where nothing happens.
import assert from 'node:assert/strict';
import path from 'node:path';
import { after } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import OpenAI from 'openai';
import { postJson, streamedText } from '../api.ts';
import { seededRandom } from '../fixtures.ts';
import { skipUnlessLong, testUnless } from '../shared.ts';
import { until } from '../until.ts';
import { skipWithoutBalancer } from './balancer.ts';
import { type Fleet, startFleet } from './fleet.ts';
import { succeed } from './program.ts';
import { prepareS3Server, startS3Server } from './s3-server.ts';
import { writeToyAdapter } from './toy-adapter.ts';

const skip = skipWithoutBalancer() || (await prepareS3Server());
const test = testUnless(skip);
const server = skip ? undefined : await startS3Server({ after });
const REPLICAS = 3;
const POLL_MS = 500;
/** A request that takes longer on a toy has not ended. */
const REQUEST_TIMEOUT_MS = 60_000;
const ARGS = ['--model', 'models/toy', '--weights', 'f32', '--slots', '4'];
const ZEN = { tenant: 'local', name: 'zen' };
const TONE = { tenant: 'local', name: 'tone' };
const MODELS = ['base', 'zen:prod', 'tone', 'zen@1'];

/** With zen@1, zen@2, zen:prod at zen@1, and tone@1; and what each says where nothing happens. */
async function openFleet() {
  assert(server);
  const environment = {
    LORIKEET_ALIAS_POLL_MS: `${POLL_MS}`,
    // The balancer looks every 500 ms.
    LORIKEET_DRAIN_DELAY_MS: '1500',
  };
  const options = { count: REPLICAS, prefix: 'fleet', args: ARGS, environment };
  const fleet = await startFleet({ after }, server, options);
  const publish = async (ref: typeof ZEN, seed: number) => {
    const directory = writeToyAdapter(path.join(fleet.folder, `adapter-${seed}`), seed);
    await fleet.repository.publish(ref, { directory });
  };
  await publish(ZEN, 1);
  await publish(ZEN, 2);
  await publish(TONE, 3);
  await fleet.repository.moveAlias(ZEN, 'prod', { version: 1 });
  const golden = new Map<string, string>();
  for (const model of ['base', 'zen@1', 'zen@2', 'tone@1']) {
    golden.set(model, (await complete(fleet.url, { model })).text);
  }
  assert.equal(new Set(golden.values()).size, golden.size);
  return { fleet, golden };
}

interface Answer {
  /** The version that answered, or `base`. */
  readonly version: string;
  readonly text: string;
}

const request = (model: string) => ({
  model,
  prompt: 'Once upon a time',
  max_tokens: 40,
  temperature: 0,
});

/** One try, by a client that knows nothing of retries. */
async function complete(
  url: string,
  { model, isStream = false }: { model: string; isStream?: boolean },
): Promise<Answer> {
  const body = { ...request(model), ignore_eos: true, stream: isStream };
  const signal = AbortSignal.timeout(REQUEST_TIMEOUT_MS);
  const response = await postJson(`${url}/v1/completions`, body, { signal });
  const answer = await response.text();
  assert.equal(response.status, 200, answer);
  const version = response.headers.get('x-lorikeet-version') ?? 'base';
  if (!isStream) return { version, text: JSON.parse(answer).choices[0].text };
  assert.ok(answer.endsWith('data: [DONE]\n\n'), answer.slice(-200));
  return { version, text: streamedText(answer) };
}

/** Workers that complete again as soon as they have an answer; `after` waits for so many more of them. */
function startLoad(askers: readonly ((n: number) => Promise<Answer>)[]) {
  const answers: Answer[] = [];
  let isOver = false;
  let wake = () => {};
  const workers = askers.map(async (asker) => {
    for (let n = 0; !isOver; n++) {
      answers.push(await asker(n));
      wake();
    }
  });
  const failed = Promise.all(workers);
  return {
    async after(count: number): Promise<void> {
      const end = answers.length + count;
      while (answers.length < end) {
        const next = new Promise<void>((resolve) => {
          wake = resolve;
        });
        await Promise.race([next, failed]);
      }
    },
    async end(): Promise<readonly Answer[]> {
      isOver = true;
      await failed;
      return answers;
    },
  };
}

function assertGolden(answers: readonly Answer[], golden: ReadonlyMap<string, string>): void {
  for (const { version, text } of answers) assert.equal(text, golden.get(version), version);
}

/** All tests share it. Only the last one changes its versions. */
const opened = skip ? undefined : await openFleet();

test('requests for one adapter meet at one replica, and who leaves the balancer leaves the engine', async () => {
  const { fleet } = opened!;
  for (let n = 0; n < 30; n++) await complete(fleet.url, { model: 'tone@1' });
  const served = (outcome: string) =>
    fromEach(
      fleet,
      new RegExp(`^lorikeet_adapter_requests_total\\{.*"tone".*"${outcome}"\\} (\\d+)$`, 'm'),
    );
  const busiest = Math.max(...(await served('ok')));
  // All but those that came while the balancer still counted the one before.
  assert.ok(busiest >= 25, `${busiest} of 31`);

  const leave = new AbortController();
  const body = { ...request('tone@1'), max_tokens: 100, n: 8, ignore_eos: true };
  const { signal } = leave;
  const sent = postJson(`${fleet.url}/v1/completions`, body, { signal });
  const left = assert.rejects(sent, { name: 'AbortError' });
  const running = () => fromEach(fleet, /^vllm:num_requests_running\{.*\} (\d+)$/m);
  await until('the request to run', async () => Math.max(...(await running())) > 0);
  leave.abort();
  await left;
  const isCounted = async () => Math.max(...(await served('aborted'))) > 0;
  await until('its abort', isCounted, { deadlineMs: 10_000 });
});

/** Returns a metric of each replica, or 0 if it has none. */
async function fromEach(fleet: Fleet, pattern: RegExp): Promise<number[]> {
  const replicas = Array.from({ length: REPLICAS }, (_, i) => fleet.urlOf(i));
  return Promise.all(
    replicas.map(async (url) => {
      const metrics = await (await fetch(`${url}/metrics`)).text();
      return Number(pattern.exec(metrics)?.[1] ?? 0);
    }),
  );
}

/** What a client that never retries does not notice. */
const ENDS = [
  ['replicas that are restarted one after the other cost nothing', 'SIGTERM', REPLICAS],
  ['ten replicas may be killed, one by one', 'SIGKILL', 10],
] as const;
for (const [what, signal, count] of ENDS) {
  const isGentle = signal === 'SIGTERM';
  testUnless(skip || (!isGentle && skipUnlessLong))(what, async () => {
    const { fleet, golden } = opened!;
    const asker = (i: number) => (n: number) => {
      const model = MODELS[(i + n) % MODELS.length]!;
      return complete(fleet.url, { model, isStream: isGentle && i % 2 === 0 });
    };
    const load = startLoad([0, 1, 2, 3].map(asker));
    for (let end = 0; end < count; end++) {
      await load.after(20);
      assert.equal(await fleet.end(end % REPLICAS, signal), isGentle ? 0 : null);
      await load.after(20);
      await fleet.start(end % REPLICAS);
    }
    const answers = await load.end();
    assertGolden(answers, golden);
    assert.ok(answers.length > 40 * count);
  });
}

test('replicas that are killed at random: a retrying client loses nothing, and a broken stream says that it is', async (t) => {
  const { fleet, golden } = opened!;
  const client = new OpenAI({
    baseURL: `${fleet.url}/v1`,
    apiKey: 'none',
    maxRetries: 10,
    timeout: REQUEST_TIMEOUT_MS,
  });
  const whole = (n: number) => askOfficially(client, MODELS[n % MODELS.length]!);
  let brokenStreams = 0;
  const streaming = async (n: number): Promise<Answer> => {
    for (;;) {
      try {
        return await streamOfficially(client, MODELS[n % MODELS.length]!);
      } catch (error) {
        assert.ok(!(error instanceof assert.AssertionError), error as Error);
        assert.notEqual((error as Error).name, 'TimeoutError');
        brokenStreams++;
      }
    }
  };
  const load = startLoad([whole, whole, streaming, streaming]);
  await moveThings(fleet, (count) => load.after(count));
  const answers = await load.end();
  assertGolden(answers, golden);
  t.diagnostic(`${answers.length} answers, ${brokenStreams} streams broken and asked for again`);

  await delay(POLL_MS);
  for (let replica = 0; replica < REPLICAS; replica++) {
    const url = fleet.urlOf(replica);
    const [zen, late] = [
      await complete(url, { model: 'zen:prod' }),
      await complete(url, { model: 'late' }),
    ];
    assert.deepEqual([zen.version, late.version], ['zen@2', 'late@1'], url);
    assert.equal(zen.text, golden.get('zen@2'));
    const metrics = await (await fetch(`${url}/metrics`)).text();
    assert.match(metrics, /^vllm:num_requests_running\{[^}]*\} 0$/m, 'nothing runs for nobody');
  }
});

/** Kills, ends and starts, an alias that moves and an adapter that is published: between answers, not by the clock. */
async function moveThings(fleet: Fleet, answers: (count: number) => Promise<void>) {
  const random = seededRandom(11);
  const draw = (count: number) => Math.floor(((random() + 1) / 2) * count);
  const starting: Promise<void>[] = [];
  for (let event = 0; event < 12; event++) {
    await answers(1 + draw(12));
    const replica = draw(REPLICAS);
    const signal = draw(3) === 0 ? 'SIGTERM' : 'SIGKILL';
    const code = await fleet.end(replica, signal);
    assert.equal(code, signal === 'SIGTERM' ? 0 : null);
    starting.push(fleet.start(replica));
    if (event === 4) await fleet.repository.moveAlias(ZEN, 'prod', { version: 2 });
    if (event === 6) {
      const directory = writeToyAdapter(path.join(fleet.folder, 'late'), 9);
      const args = ['adapters', 'push', directory, '--name', 'late'];
      await succeed(args, fleet.folder, fleet.environment);
    }
  }
  await Promise.all(starting);
  await answers(12);
}

async function askOfficially(client: OpenAI, model: string): Promise<Answer> {
  const body = { ...request(model), ignore_eos: true };
  const { data, response } = await client.completions.create(body).withResponse();
  const version = response.headers.get('x-lorikeet-version') ?? 'base';
  return { version, text: data.choices[0]!.text };
}

/** Rejects if the stream breaks off. A stream that ends normally but is incomplete fails an assertion. */
async function streamOfficially(client: OpenAI, model: string): Promise<Answer> {
  const body = { ...request(model), ignore_eos: true, stream: true } as const;
  const { data, response } = await client.completions.create(body).withResponse();
  const version = response.headers.get('x-lorikeet-version') ?? 'base';
  let text = '';
  let reason: string | null = null;
  for await (const { choices } of data) {
    text += choices[0]!.text;
    reason = choices[0]!.finish_reason ?? reason;
  }
  assert.equal(reason, 'length', `a stream of ${model} that is broken ends as if it were whole`);
  return { version, text };
}
