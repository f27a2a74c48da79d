// The data that a collector receives: spans of a request below their parents, the metrics of /metrics, and no text.
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { createLog } from '../../src/common/log.ts';
import { chooseExports, type ExportSettings } from '../../src/telemetry/export-choice.ts';
import { type Exports, openOtelExports } from '../../src/telemetry/otel/open.ts';
import { Telemetry } from '../../src/telemetry/telemetry.ts';
import { idle, type Served, serve, utf8 } from '../http/served.ts';
import { type OtlpReceiver, type ReceivedSpan, startOtlpReceiver } from './otlp-receiver.ts';

const URL = '/v1/chat/completions';
const TRACE = '0af7651916cd43dd8448eb211c80319c';
const CALLER = 'b7ad6b7169203331';
/** Said in prompts and answers, and as keys; nowhere else. */
const CANARY = 'canary-4f1d';

interface Traced {
  served: Served;
  receiver: OtlpReceiver;
  exports: Exports;
  lines: Record<string, unknown>[];
}

async function startTraced(closeMs = 10_000): Promise<Traced> {
  const receiver = await startOtlpReceiver();
  process.env['OTEL_EXPORTER_OTLP_ENDPOINT'] = receiver.url;
  process.env['OTEL_EXPORTER_OTLP_HEADERS'] = 'x-collector-key=of-the-operator';
  process.env['OTEL_RESOURCE_ATTRIBUTES'] = 'deployment.environment.name=test';
  const lines: Record<string, unknown>[] = [];
  const write = (line: string) => void lines.push(JSON.parse(line));
  const exports = openOtelExports(
    { traces: true, metrics: true, closeMs },
    createLog('warn', { write }),
  );
  const { tracing } = exports;
  assert.ok(tracing);
  const base = { id: 'toy', baseDigest: 'b'.repeat(64) };
  const telemetry = new Telemetry({ ...base, tracing });
  exports.send(telemetry.metrics);
  const log = createLog('info', { write }, () => tracing.logFields() ?? {});
  const reply = () => utf8(`${CANARY} said`);
  const served = serve({ adapters: ['zen'], telemetry, log, reply });
  return { served, receiver, exports, lines };
}

let traced: Traced;
before(async () => {
  traced = await startTraced();
  const { served, exports } = traced;
  const traceparent = `00-${TRACE}-${CALLER}-01`;
  const headers = {
    'content-type': 'application/json',
    authorization: `Bearer ${CANARY}`,
    traceparent,
  };
  const messages = [{ role: 'user', content: `${CANARY} please` }];
  const body = { model: 'zen', messages, max_tokens: 9, seed: 7, user: CANARY };
  const one = await served.post(URL, { ...body, n: 2, stream: true }, { headers });
  await one.text();
  await (await served.post(URL, { messages, model: 'nobody' })).text();
  await (await served.app.request('/livez')).text();
  await idle(served);
  await exports.close();
});
after(() => traced.receiver.close());

const spansOf = (traceId: string) => traced.receiver.spans.filter((s) => s.traceId === traceId);
const root = () => spansOf(TRACE).find(({ parentSpanId }) => parentSpanId === CALLER)!;

describe('a collector', () => {
  test('sees the request below its caller, with the attributes of generative AI', () => {
    const { name, kind, attributes, status } = root();
    assert.equal(name, 'chat zen');
    assert.equal(kind, 2);
    assert.equal(status, 0);
    assert.deepEqual(pick(attributes, 'gen_ai.', 'http.'), {
      'gen_ai.operation.name': 'chat',
      'gen_ai.provider.name': 'lorikeet',
      'gen_ai.request.model': 'zen',
      'gen_ai.response.model': attributes['gen_ai.response.model'],
      'gen_ai.response.id': attributes['gen_ai.response.id'],
      'gen_ai.response.finish_reasons': ['length', 'length'],
      'gen_ai.response.time_to_first_chunk': attributes['gen_ai.response.time_to_first_chunk'],
      'gen_ai.output.type': 'text',
      'gen_ai.request.stream': true,
      'gen_ai.request.choice.count': 2,
      'gen_ai.request.max_tokens': 9,
      'gen_ai.request.temperature': 1,
      'gen_ai.request.top_p': 1,
      'gen_ai.request.top_k': 0,
      'gen_ai.request.frequency_penalty': 0,
      'gen_ai.request.presence_penalty': 0,
      'gen_ai.request.seed': 7,
      'gen_ai.usage.input_tokens': attributes['gen_ai.usage.input_tokens'],
      'gen_ai.usage.output_tokens': 18,
      'http.request.method': 'POST',
      'http.route': URL,
      'http.response.status_code': 200,
    });
    assert.match(String(attributes['gen_ai.response.id']), /^chatcmpl-/);
    assert.match(String(attributes['gen_ai.response.model']), /^toy\+[0-9a-f]{12}$/);
    assert.ok(Number(attributes['gen_ai.response.time_to_first_chunk']) > 0);
  });

  test('sees the phases of each choice below it, one after the other', () => {
    const parent = root();
    const children = spansOf(TRACE).filter(({ parentSpanId }) => parentSpanId === parent.spanId);
    assert.equal(children.length, spansOf(TRACE).length - 1, 'all are below the request');
    assert.deepEqual(names(children.filter((s) => !('lorikeet.choice.index' in s.attributes))), [
      'adapter files',
    ]);
    for (const index of [0, 1]) {
      const own = children.filter((s) => s.attributes['lorikeet.choice.index'] === index);
      assert.deepEqual(names(own), ['adapter', 'queue', 'prefill', 'decode']);
      for (const [i, span] of own.entries()) {
        assert.ok(span.startNs <= span.endNs);
        assert.ok(span.startNs >= parent.startNs - 1_000_000n, 'within the request, to the ms');
        if (i > 0) assert.equal(span.startNs, own[i - 1]!.endNs, `${span.name} follows at once`);
      }
      assert.equal(own[0]!.attributes['lorikeet.adapter.tier'], 'disk');
      assert.equal(own[3]!.attributes['gen_ai.usage.output_tokens'], 9);
    }
  });

  test('sees a refusal by its route and code, and no probe', () => {
    const others = traced.receiver.spans.filter(({ traceId }) => traceId !== TRACE);
    assert.deepEqual(names(others), [`POST ${URL}`]);
    assert.equal(others[0]!.attributes['http.response.status_code'], 404);
    assert.equal(others[0]!.parentSpanId, '');
  });
});

describe('a collector, beside spans,', () => {
  test('gets metrics under the names of the table', () => {
    const metric = (name: string) => traced.receiver.metrics.find((one) => one.name === name)!;
    const tokens = metric('vllm:generation_tokens_total');
    assert.deepEqual([tokens.kind, tokens.isMonotonic, tokens.unit], ['sum', true, '{token}']);
    assert.deepEqual(tokens.points[0], {
      attributes: { model_name: 'toy' },
      value: 18,
      bucketCounts: [],
    });
    assert.equal(metric('vllm:kv_cache_usage_perc').kind, 'gauge');
    const duration = metric('gen_ai.server.request.duration');
    assert.equal(duration.kind, 'histogram');
    const [point] = duration.points;
    assert.equal(
      point!.bucketCounts.reduce((sum, count) => sum + count, 0),
      1,
    );
    assert.equal(point!.bucketCounts.length, 15);
    assert.ok(point!.value > 0);
    assert.deepEqual(point!.attributes, {
      'gen_ai.operation.name': 'chat',
      'gen_ai.provider.name': 'lorikeet',
      'gen_ai.request.model': 'zen',
    });
  });

  test('gets the service name of the OTEL_* variables, and no command line', () => {
    for (const resource of traced.receiver.resources) {
      assert.equal(resource['service.name'], 'lorikeet');
      assert.equal(resource['deployment.environment.name'], 'test');
      assert.deepEqual(Object.keys(pick(resource, 'process.', 'host.')), []);
    }
    assert.equal(traced.receiver.headers['x-collector-key'], 'of-the-operator');
    assert.equal(traced.receiver.headers['content-type'], 'application/x-protobuf');
  });

  test('T37: gets no text of a prompt or an answer and no key; neither do the log and /metrics', async () => {
    const { receiver, served, lines } = traced;
    assert.ok(receiver.bodies.length >= 2);
    for (const body of receiver.bodies) assert.ok(!body.includes(CANARY));
    assert.ok(!JSON.stringify(lines).includes(CANARY));
    assert.ok(!(await (await served.app.request('/metrics')).text()).includes(CANARY));
  });

  test('finds the log lines of a request by its trace', () => {
    const line = traced.lines.find(({ msg }) => msg === 'usage');
    assert.equal(line?.['trace_id'], TRACE);
    assert.equal(line?.['span_id'], root().spanId);
  });
});

describe('a collector that', () => {
  for (const [how, disturb] of [
    ['is away', (receiver: OtlpReceiver) => receiver.close()],
    ['never answers', (receiver: OtlpReceiver) => receiver.stopAnswering()],
  ] as const) {
    test(`F36: ${how} costs a line of the log, and neither an answer nor the end`, async (t) => {
      process.env['OTEL_EXPORTER_OTLP_TIMEOUT'] = '200';
      process.env['OTEL_BSP_SCHEDULE_DELAY'] = '10';
      const { served, receiver, exports, lines } = await startTraced(100);
      t.after(() => receiver.close());
      await disturb(receiver);
      const messages = [{ role: 'user', content: 'Hi' }];
      for (let i = 0; i < 10; i++) {
        const response = await served.post(URL, { model: 'base', messages, max_tokens: 3 });
        assert.equal(response.status, 200);
      }
      await exports.close();
      assert.ok(lines.some(({ msg }) => String(msg).startsWith('telemetry export')));
    });
  }
});

test('nothing is sent unless a variable asks for it', () => {
  const otlpEndpoint = 'http://collector:4318';
  for (const [given, sent] of [
    [{}, undefined],
    [{ otlpEndpoint }, { traces: true, metrics: true }],
    [{ tracesExporter: 'otlp' }, { traces: true, metrics: false }],
    [
      { otlpEndpoint, metricsExporter: 'none' },
      { traces: true, metrics: false },
    ],
    [{ otlpMetricsEndpoint: otlpEndpoint }, { traces: false, metrics: true }],
    [{ otelDisabled: true, otlpEndpoint }, undefined],
  ] as const) {
    const settings: ExportSettings = { otelDisabled: false, ...given };
    assert.deepEqual(chooseExports(settings), sent, JSON.stringify(given));
  }
});

function names(spans: readonly ReceivedSpan[]): string[] {
  return spans.map(({ name }) => name);
}

function pick(attributes: Record<string, unknown>, ...prefixes: string[]) {
  return Object.fromEntries(
    Object.entries(attributes).filter(([name]) => prefixes.some((p) => name.startsWith(p))),
  );
}
