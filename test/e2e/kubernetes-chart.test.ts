// The chart on Kubernetes' own API server and controllers, with pods as processes: installed, scaled to three and rolled to
// another version while clients ask, none of which ever retries.

import assert from 'node:assert/strict';
import http from 'node:http';
import path from 'node:path';
import type { TestContext } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { createRepository } from '../../adapters/repository/repository.ts';
import { streamedText } from '../api.ts';
import { temporaryFolder } from '../fixtures.ts';
import { testUnless } from '../shared.ts';
import type { Listed, Metadata } from './kubernetes/api.ts';
import {
  type ChartCluster,
  NAMESPACE,
  prepareChart,
  RELEASE,
  startChartCluster,
} from './kubernetes/chart.ts';
import { type Service, startService } from './kubernetes/service.ts';
import { writeToyAdapter } from './toy-adapter.ts';

const skip = await prepareChart();
const test = testUnless(skip);
/** Four pods of four processes each start one after the other, on a machine that is busy with requests. */
const PATIENCE_MS = 300_000;
const REQUEST_TIMEOUT_MS = 60_000;

interface Deployment {
  readonly metadata: Metadata & { readonly generation: number };
  readonly spec: { readonly replicas: number };
  readonly status: {
    readonly observedGeneration?: number;
    readonly replicas?: number;
    readonly updatedReplicas?: number;
    readonly availableReplicas?: number;
  };
}

/** Waits as `kubectl rollout status` does, and until the pods that went are gone, too. */
async function rolledOut({ api, node }: ChartCluster, service: Service): Promise<void> {
  const endMs = performance.now() + PATIENCE_MS;
  const pods = `/api/v1/namespaces/${NAMESPACE}/pods`;
  for (;;) {
    const path = `/apis/apps/v1/namespaces/${NAMESPACE}/deployments/${RELEASE}`;
    const { metadata, spec, status } = await api.get<Deployment>(path);
    const { replicas } = spec;
    const isDone =
      status.observedGeneration === metadata.generation &&
      [status.replicas, status.updatedReplicas, status.availableReplicas, service.size].every(
        (count) => count === replicas,
      );
    if (isDone && (await api.get<Listed<unknown>>(pods)).items.length === replicas) return;
    const state = `${JSON.stringify(status)}, ${service.size} endpoints, ${node.unhealthy}`;
    assert.ok(performance.now() < endMs, `not rolled out: ${state}`);
    assert.ok(
      node.ends.every(({ wasDeleted }) => wasDeleted),
      JSON.stringify(node.ends),
    );
    await delay(200);
  }
}

interface Client {
  readonly agent: http.Agent;
  /** Whether it uses a connection again. */
  readonly isKept: boolean;
  readonly isStream: boolean;
  /** Between an answer and the next request. */
  readonly restMs: number;
}

/** Connections that are kept, used all the time or left alone for a while, and one per request. */
const CLIENTS: readonly Pick<Client, 'isStream' | 'restMs'>[] = [
  ...[100, 500, 2_000, 8_000].flatMap((restMs) => [
    { isStream: false, restMs },
    { isStream: true, restMs },
  ]),
];

interface Lost {
  readonly client: string;
  readonly atMs: number;
  readonly fault: string;
}

/** Asks until `end`, which resolves with how many answers there were and what was lost. */
function startLoad(t: TestContext, url: string, key: string, golden: ReadonlyMap<string, string>) {
  const lost: Lost[] = [];
  let answered = 0;
  let isOver = false;
  const startMs = performance.now();
  const models = [...golden.keys()];
  const work = async (client: Client, n: number): Promise<void> => {
    const name = `${client.isKept ? 'kept' : 'new'}, rests ${client.restMs} ms`;
    for (let turn = n; !isOver; turn++) {
      const model = models[turn % models.length]!;
      try {
        const text = await complete(url, key, { ...client, model });
        assert.equal(text, golden.get(model), model);
        answered++;
      } catch (error) {
        const atMs = Math.round(performance.now() - startMs);
        lost.push({ client: name, atMs, fault: String(error) });
      }
      await delay(client.restMs);
    }
  };
  const clients = [true, false].flatMap((isKept) =>
    CLIENTS.map((one) => ({ ...one, isKept, agent: new http.Agent({ keepAlive: isKept }) })),
  );
  t.after(() => {
    isOver = true;
    for (const { agent } of clients) agent.destroy();
  });
  const all = Promise.all(clients.map(work));
  return {
    async end(): Promise<{ answered: number; lost: readonly Lost[] }> {
      isOver = true;
      await all;
      return { answered, lost };
    },
  };
}

async function complete(
  url: string,
  key: string,
  { agent, isStream, model }: Pick<Client, 'agent' | 'isStream'> & { model: string },
): Promise<string> {
  const prompt = { model, prompt: 'Once upon a time', max_tokens: 40, temperature: 0 };
  const body = JSON.stringify({ ...prompt, ignore_eos: true, stream: isStream });
  const headers = {
    authorization: `Bearer ${key}`,
    'content-type': 'application/json',
    'content-length': Buffer.byteLength(body),
  };
  const signal = AbortSignal.timeout(REQUEST_TIMEOUT_MS);
  const response = await new Promise<http.IncomingMessage>((resolve, reject) => {
    const sent = http.request(`${url}/v1/completions`, { method: 'POST', agent, headers, signal });
    sent.once('response', resolve).once('error', reject).end(body);
  });
  const chunks: Buffer[] = [];
  for await (const chunk of response as AsyncIterable<Buffer>) chunks.push(chunk);
  const answer = Buffer.concat(chunks).toString('utf8');
  assert.equal(response.statusCode, 200, answer);
  if (!isStream) return JSON.parse(answer).choices[0].text;
  assert.ok(answer.endsWith('data: [DONE]\n\n'), answer.slice(-200));
  return streamedText(answer);
}

test('the chart is installed, scaled to three and rolled to another version, and no request is lost', async (t) => {
  const cluster = await startChartCluster(t);
  const { api, node, store, key } = cluster;
  const directory = writeToyAdapter(path.join(temporaryFolder(t), 'zen'), 1);
  await createRepository(store).publish({ tenant: 'acme', name: 'zen' }, { directory });

  await cluster.apply({ replicas: 1, image: { tag: '0.1.0' } });
  const service = await startService(t, api, { namespace: NAMESPACE, name: RELEASE });
  await rolledOut(cluster, service);
  const golden = new Map<string, string>();
  for (const model of ['base', 'zen']) {
    const agent = new http.Agent();
    golden.set(model, await complete(service.url, key, { agent, isStream: false, model }));
  }
  assert.equal(new Set(golden.values()).size, 2);

  const load = startLoad(t, service.url, key, golden);
  await cluster.apply({ replicas: 3, image: { tag: '0.1.0' } });
  await rolledOut(cluster, service);
  await cluster.apply({ replicas: 3, image: { tag: '0.2.0' } });
  await rolledOut(cluster, service);
  await cluster.apply({ replicas: 1, image: { tag: '0.2.0' } });
  await rolledOut(cluster, service);
  const { answered, lost } = await load.end();

  t.diagnostic(`${answered} answers of ${service.connections.size} pods, ${lost.length} lost`);
  assert.deepEqual(lost, []);
  assert.equal(service.connections.size, 6, 'every pod was given requests');
  assert.deepEqual(node.unhealthy, []);
  const ended = node.ends.map(({ image, code, wasKilled }) => ({ image, code, wasKilled }));
  const end = (tag: string) => ({ image: `lorikeet:${tag}`, code: 0, wasKilled: false });
  const expected = [...Array(3).fill(end('0.1.0')), ...Array(2).fill(end('0.2.0'))];
  assert.deepEqual(ended, expected);
  assert.ok(answered > 500, `${answered} answers`);
});
