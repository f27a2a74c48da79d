// The text of /metrics follows Prometheus's format.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Instrument } from '../../src/telemetry/instruments.ts';
import { INSTRUMENTS, toPrometheusName } from '../../src/telemetry/instruments.ts';
import { Metrics } from '../../src/telemetry/metrics.ts';
import { writePrometheusText } from '../../src/telemetry/prometheus-text.ts';
import { parsePrometheusText } from './prometheus-parser.ts';

const model = { model_name: 'm' };

test('label values with quotes, backslashes and line ends are read back as they were', async () => {
  const metrics = new Metrics();
  const tenant = 'a"b\\n\\\nc';
  metrics.add('tenantRequests', { tenant, outcome: 'ok' }, 3);
  const families = parsePrometheusText(writePrometheusText(await metrics.snapshot()));
  assert.deepEqual(families.get('lorikeet_tenant_requests_total')!.samples, [
    { name: 'lorikeet_tenant_requests_total', labels: { tenant, outcome: 'ok' }, value: 3 },
  ]);
});

test('buckets count all values up to their bound, which is included', async () => {
  const metrics = new Metrics();
  const values = [0, 0.0025, 0.003, 0.1, 0.1, 2.5, 99];
  for (const value of values) metrics.observe('timePerOutputToken', model, value);
  const families = parsePrometheusText(writePrometheusText(await metrics.snapshot()));
  const { samples } = families.get('vllm:time_per_output_token_seconds')!;
  for (const { name, labels, value } of samples) {
    const bound = labels['le'] === '+Inf' ? Number.POSITIVE_INFINITY : Number(labels['le']);
    if (name.endsWith('_bucket')) assert.equal(value, values.filter((v) => v <= bound).length);
    if (name.endsWith('_count')) assert.equal(value, values.length);
    if (name.endsWith('_sum')) assert.ok(Math.abs(value - 101.7055) < 1e-9);
  }
  assert.equal(samples.length, INSTRUMENTS.timePerOutputToken.buckets.length + 3);
});

test('an instrument without values is not shown', async () => {
  assert.equal(writePrometheusText(await new Metrics().snapshot()), '');
});

test('series of a dropped label value are gone, those of others stay', async () => {
  const metrics = new Metrics();
  for (const tenant of ['a', 'b']) {
    metrics.add('tenantRequests', { tenant, outcome: 'ok' });
    metrics.add('adapterRequests', { tenant, adapter: 'x', outcome: 'ok' });
  }
  metrics.drop({ tenant: 'a', adapter: 'x' });
  const text = writePrometheusText(await metrics.snapshot());
  assert.match(text, /tenant_requests_total\{tenant="a"/);
  assert.doesNotMatch(text, /adapter_requests_total\{tenant="a"/);
  assert.match(text, /adapter_requests_total\{tenant="b"/);
});

test('every name is unique and of its kind: totals are counters, units are in the name', () => {
  const instruments = Object.values(INSTRUMENTS) as Instrument[];
  const names = instruments.map(toPrometheusName);
  assert.equal(new Set(names).size, names.length);
  for (const [i, { kind, unit, buckets = [] }] of instruments.entries()) {
    const name = names[i]!;
    assert.equal(name.endsWith('_total'), kind === 'counter', name);
    if (kind !== 'gauge' && unit === 's') assert.match(name, /_seconds(_total)?$/);
    assert.equal(buckets.length > 0, kind === 'histogram', name);
    assert.deepEqual(
      [...buckets],
      [...buckets].sort((a, b) => a - b),
    );
  }
});
