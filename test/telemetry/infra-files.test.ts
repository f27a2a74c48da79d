// Alerts and the dashboard use metrics that exist. Otherwise a renamed metric would silence them.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { ALERTS, dashboardQueries, knownNames, metricNames } from './infra-files.ts';

test('every metric of the alerts is one of ours', () => {
  const names = metricNames(readFileSync(ALERTS, 'utf8'));
  assert.ok(names.size >= 10);
  for (const name of names) assert.ok(knownNames().has(name), name);
});

test('every metric of the dashboard is one of ours', () => {
  const queries = dashboardQueries();
  assert.ok(queries.length >= 30);
  for (const { title, expr } of queries) {
    const names = metricNames(expr);
    assert.ok(names.size > 0, `${title}: ${expr}`);
    for (const name of names) assert.ok(knownNames().has(name), `${title}: ${name}`);
  }
});
