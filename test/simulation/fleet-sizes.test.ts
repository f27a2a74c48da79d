// The table of sizes in docs/several-servers.md, which a simulated fleet confirms.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { simulateFleet } from './fleet-sizes.ts';

const IS_LONG = process.env['LORIKEET_E2E_LONG'] !== undefined;
const PAGE = readFileSync('docs/several-servers.md', 'utf8');
const DAY_S = 86_400;
/** Dollars, of S3 in us-east-1. */
const WRITE_PRICE = 0.005 / 1000;
const READ_PRICE = 0.0004 / 1000;

/** The figures of a row: of a busy server, an idle one, and 100 busy ones. */
function documented(row: string): number[] {
  const line = PAGE.split('\n').find((text) => text.startsWith(`| ${row} |`));
  assert.ok(line, row);
  return line.split('|').slice(2, 5).map(Number);
}

/** Scans touch real files, which take no virtual time, so a server may scan less often than it would. */
function assertDocumented(row: string, column: number, value: number): void {
  const shown = documented(row)[column]!;
  const isRight = value <= 1.1 * shown && value >= 0.5 * shown;
  assert.ok(isRight, `${row}: ${value}, the page says ${shown}`);
}

/** Compares what a server asks with the table. */
function assertServer(column: number, { writes, reads }: { writes: number; reads: number }): void {
  assertDocumented('lists and writes per second', column, writes);
  assertDocumented('reads per second', column, reads);
  const dollars = DAY_S * (writes * WRITE_PRICE + reads * READ_PRICE);
  assertDocumented('dollars per day', column, dollars);
}

test('a busy server asks as much as the page says, for any number of names and servers', async (t) => {
  const more = [
    { servers: 2, names: 40 },
    { servers: 4, names: 10 },
  ];
  const sizes = [{ servers: 2, names: 10 }, ...(IS_LONG ? more : [])];
  for (const size of sizes) {
    const { perServer, slowestMs } = await simulateFleet({
      ...size,
      seconds: IS_LONG ? 120 : 60,
      changeMs: 5000,
    });
    t.diagnostic(JSON.stringify({ ...size, perServer, slowestMs }));
    assertServer(0, perServer);
    assert.ok(slowestMs <= 2000, `a server followed after ${slowestMs} ms`);
  }
  for (const row of ['lists and writes per second', 'reads per second', 'dollars per day']) {
    const [one, , hundred] = documented(row);
    assert.ok(Math.abs(hundred! - 100 * one!) <= 0.03 * hundred!, row);
  }
});

test('an idle server asks as much as the page says', async () => {
  const { perServer } = await simulateFleet({ servers: 3, names: 0, seconds: 600, changeMs: 5000 });
  assertServer(1, perServer);
});

test('many changes make the list of announcements longer than a page', {
  skip: !IS_LONG && 'LORIKEET_E2E_LONG is not set',
}, async (t) => {
  const size = { servers: 1, names: 10, seconds: 60, changeMs: 200 };
  const { perServer } = await simulateFleet({ ...size, warmUpMs: 240_000 });
  t.diagnostic(JSON.stringify(perServer));
  assert.ok(perServer.writes > 1, `${perServer.writes} lists per second`);
});
