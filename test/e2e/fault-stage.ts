// `lorikeet serve` with a store in a real S3 server, a proxy between them that breaks requests, and streams of an adapter
// that is here, which go on all the time.
//
//   const stage = await startStage(t);                 // `resident` is published and was asked for
//   await stage.publish('cold');                       // past the proxy
//   stage.proxy.script = …;
//   const { status, tier, code } = await stage.ask('cold');
//   await stage.stopStreams();                         // fails if one of them ended early or had another text
import assert from 'node:assert/strict';
import path from 'node:path';
import type { TestContext } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { type AdapterRepository, createRepository } from '../../adapters/repository/repository.ts';
import type { ObjectStore } from '../../adapters/store/store.ts';
import { postJson, streamedText } from '../api.ts';
import { temporaryFolder } from '../fixtures.ts';
import { type FaultProxy, startFaultProxy } from './fault-proxy.ts';
import { type Serving, serveFor } from './program.ts';
import {
  openStore,
  type S3Kind,
  type S3Server,
  startS3Server,
  storeEnvironment,
} from './s3-server.ts';
import { writeToyAdapter } from './toy-adapter.ts';

const STREAMS = 3;
const STREAM_TOKENS = 60;
/** Between two streams of a client: they show that nothing ends, not how much fits. */
const THINKING_MS = 300;

export interface Asked {
  readonly status: number;
  readonly headers: Headers;
  readonly tier: string | null;
  readonly version: string | null;
  /** Absent: it was answered. */
  readonly code?: string;
  readonly text: string;
}

export interface Stage {
  readonly s3: S3Server;
  readonly proxy: FaultProxy;
  readonly serving: Serving;
  /** Past the proxy. */
  readonly store: ObjectStore;
  readonly repository: AdapterRepository;
  /** Over the same bucket, by way of another proxy. */
  openRepository(endpoint: string): AdapterRepository;
  /** A PEFT folder with other weights each time. */
  write(): string;
  /** The name's next version, in the tenant `local`. */
  publish(name: string): Promise<void>;
  ask(model: string): Promise<Asked>;
  /** Another server on the same store, with nothing on its disk. */
  startAnother(): Promise<Serving>;
  askAt(serving: Serving, model: string): Promise<Asked>;
  /**
   * Asserts that each stream ended as it should and with the same text. `refusal`: the code with which one that has not begun may
   * be refused from now on.
   */
  stopStreams(refusal?: string): Promise<void>;
}

export async function startStage(
  t: TestContext,
  settings: Record<string, string> = {},
  kind?: S3Kind,
): Promise<Stage> {
  const s3 = await startS3Server(t, kind);
  const proxy = await startFaultProxy(t, s3.endpoint);
  const folder = temporaryFolder(t);
  const store = openStore(s3);
  const repository = createRepository(store);
  let written = 0;
  const write = () => writeToyAdapter(path.join(folder, `source-${++written}`), written);
  const publish = async (name: string) => {
    await repository.publish({ tenant: 'local', name }, { directory: write() });
  };
  let started = 0;
  const start = async () => {
    const args = ['--model', 'models/toy', '--weights', 'f32', '--slots', '8', '--threads', '1'];
    const serving = await serveFor(t, args, path.join(folder, `home-${++started}`), {
      ...storeEnvironment(s3, { endpoint: proxy.endpoint }),
      ...settings,
    });
    return serving;
  };
  await publish('resident');
  const serving = await start();
  const ask = (model: string) => complete(serving.url, model);
  const { text } = await ask('resident');
  const streams = keepStreaming(serving.url, text);
  return {
    ...{ s3, proxy, serving, store, repository, write, publish, ask },
    openRepository: (endpoint) => createRepository(openStore(s3, '', endpoint)),
    startAnother: start,
    askAt: ({ url }, model) => complete(url, model),
    stopStreams: (refusal) => streams.stop(refusal),
  };
}

async function complete(url: string, model: string, rest: object = {}): Promise<Asked> {
  const response = await postJson(`${url}/v1/completions`, {
    ...{ model, prompt: 'Once upon a time', max_tokens: STREAM_TOKENS },
    ...{ temperature: 0, ignore_eos: true, ...rest },
  });
  const { status, headers } = response;
  const [tier, version] = [headers.get('x-lorikeet-tier'), headers.get('x-lorikeet-version')];
  const body = await response.text();
  const seen = { status, headers, tier, version };
  if (status !== 200) {
    const { code, message } = JSON.parse(body).error;
    return { ...seen, code, text: message };
  }
  if (!('stream' in rest)) return { ...seen, text: JSON.parse(body).choices[0].text };
  assert.match(body, /data: \[DONE\]\n\n$/, 'a stream was cut');
  return { ...seen, text: streamedText(body) };
}

function keepStreaming(url: string, expected: string): { stop(refusal?: string): Promise<void> } {
  let isOver = false;
  let allowed: string | undefined;
  let count = 0;
  const stream = async () => {
    while (!isOver) {
      const { status, tier, code, text } = await complete(url, 'resident', { stream: true });
      if (code !== undefined && code === allowed) return;
      assert.deepEqual([status, text], [200, expected]);
      assert.notEqual(tier, 'store');
      count++;
      await delay(THINKING_MS);
    }
  };
  const all = Promise.all(Array.from({ length: STREAMS }, stream));
  all.catch(() => {}); // told by `stop`
  return {
    async stop(refusal) {
      isOver = true;
      allowed = refusal;
      await all;
      assert.ok(count > 0, 'no stream ended');
    },
  };
}
