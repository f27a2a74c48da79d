// What a run leaves to read: TensorBoard's events, the result table, the picture, the terminal's curve.
import assert from 'node:assert/strict';
import { mkdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { createLossPlot } from '../../src/cli/loss-plot.ts';
import type { StepMetrics } from '../../src/contracts/metrics.ts';
import { examineCurves } from '../../trainer/run/curve-warnings.ts';
import { crc32c, EVENT_FILE } from '../../trainer/run/event-file.ts';
import { plotSvg } from '../../trainer/run/loss-picture.ts';
import { parseSteps, serializeSteps, toResultCsv } from '../../trainer/run/metrics.ts';
import { temporaryFolder } from '../fixtures.ts';
import { dataset, metricsRow, runDir, runLinear } from './runs.ts';
import { questions, runToy, writeRows } from './toy-runs.ts';

const ROWS = [metricsRow(1, 3), metricsRow(2, 2.5, 2.75), metricsRow(3, 2)];

test('CRC-32C is the Castagnoli polynomial', () => {
  assert.equal(crc32c(Buffer.from('123456789')), 0xe3069283);
  assert.equal(crc32c(new Uint8Array(32)), 0x8a9136aa); // RFC 3720, B.4
});

/** Frames of a TFRecord file, each CRC checked. */
function readRecords(bytes: Buffer): Buffer[] {
  const unmask = (masked: number) => {
    const rotated = (masked - 0xa282ead8) >>> 0;
    return ((rotated >>> 17) | (rotated << 15)) >>> 0;
  };
  const records: Buffer[] = [];
  for (let at = 0; at < bytes.length; ) {
    const length = Number(bytes.readBigUInt64LE(at));
    assert.equal(unmask(bytes.readUInt32LE(at + 8)), crc32c(bytes.subarray(at, at + 8)));
    const data = bytes.subarray(at + 12, at + 12 + length);
    assert.equal(unmask(bytes.readUInt32LE(at + 12 + length)), crc32c(data));
    records.push(data);
    at += 16 + length;
  }
  return records;
}

test("a run's event file holds its version and one event per step", async (t) => {
  const dir = runDir(temporaryFolder(t), 'run');
  const { metrics, folder } = await runLinear(dir, { rows: dataset(6), job: { epochs: 2 } });
  const records = readRecords(readFileSync(path.join(dir, EVENT_FILE)));
  assert.match(records[0]!.toString('latin1'), /brain\.Event:2$/);
  assert.equal(records.length, 1 + metrics.length);
  for (const [i, { loss }] of metrics.entries()) {
    const event = records[i + 1]!;
    const at = event.indexOf('train/loss') + 'train/loss'.length;
    assert.equal(event[at], 0x15); // field 2, 32 bits
    assert.equal(event.readFloatLE(at + 1), Math.fround(loss));
    assert.deepEqual([event[9], event[10]], [0x10, i + 1]); // field 2: the step
  }
  await folder.writeTable();
  await folder.writePlot('a <b>');
  assert.match(readFileSync(path.join(dir, 'plot.svg'), 'utf8'), /a &lt;b&gt;/);
  assert.equal(readFileSync(path.join(dir, 'result.csv'), 'utf8').split('\n').length, 8);
});

test("the result table has OpenAI's header, and empty cells where nothing was evaluated", () => {
  assert.equal(
    toResultCsv(ROWS.slice(0, 2)),
    'step,train_loss,train_accuracy,valid_loss,valid_mean_token_accuracy\n1,3,0.25,,\n2,2.5,0.25,2.75,0.5\n',
  );
});

test('metrics come back from their lines up to a step, without a torn end', () => {
  const text = serializeSteps(ROWS);
  assert.deepEqual(parseSteps(text, 3), ROWS);
  assert.deepEqual(parseSteps(text, 1), ROWS.slice(0, 1));
  assert.deepEqual(parseSteps(text.slice(0, -9), 9), ROWS.slice(0, 2));
  assert.deepEqual(parseSteps('', 3), []);
});

test('the picture has a curve per loss, and stands for one step too', () => {
  const svg = plotSvg(ROWS, 'zen');
  assert.equal(svg.match(/<polyline/g)?.length, 3);
  assert.equal(svg.match(/<circle/g)?.length, 1);
  assert.doesNotMatch(plotSvg(ROWS.slice(0, 1), 'zen'), /NaN|Infinity/);
});

/** Beyond the arguments that fit on the stack. */
const LONG = 140_000;

test('reports and checks of a long run', () => {
  const rows = Array.from({ length: LONG }, (_, i) => metricsRow(i + 1, 3 - (2 * i) / LONG, 2));
  const svg = plotSvg(rows, 'long');
  assert.ok(svg.length < 100_000, `${svg.length}`);
  assert.match(svg, />140000</);
  assert.equal(toResultCsv(rows).split('\n').length, LONG + 2);
  const context = { objective: 'supervised', totalSteps: LONG, peakRate: 1e-3, rank: 16 } as const;
  const unknown = { usesTemplate: true, vocabSize: undefined, baseTextLoss: undefined };
  assert.deepEqual(examineCurves(rows, { ...context, ...unknown }), []);
  assert.match(drawn(rows, false), /^ {4}2\.984 ┤·/);
});

test('a report that cannot be written is a warning, and the adapter is published', async (t) => {
  const data = writeRows(t, questions(16, 'Yes'));
  const settings = { data, name: 'yes', epochs: 1, checkpointEvery: 1 };
  const { dir } = await runToy(t, settings, { gate: false, killAfter: 1 });
  for (const name of ['result.csv', 'plot.svg'])
    mkdirSync(path.join(dir, name, 'full'), { recursive: true });
  const { published, messages, error } = await runToy(t, settings, { gate: false, dir });
  assert.equal(error, undefined);
  assert.equal(published.length, 1);
  const warned = messages.flatMap((message) =>
    message.type === 'event' && message.code === 'report_failed' ? message.message : [],
  );
  assert.match(warned.join(), /^result\.csv was not written .*,plot\.svg was not written /);
  const trained = messages.find(({ type }) => type === 'trained');
  assert.ok(trained && !('resultFile' in trained));
});

/** The last drawing of the terminal's curve. */
function drawn(rows: readonly StepMetrics[], isTTY = true): string {
  let text = '';
  const error = (more: string) => {
    text = more;
  };
  const plot = createLossPlot({ isTTY, error, out: error });
  const run = { type: 'step' as const, totalSteps: rows.length };
  for (const row of rows) plot.add({ ...run, ...row }, 'loss');
  return text.split('\x1b[J').at(-1)!;
}

test('the curve in the terminal falls from its first line to its last', () => {
  const lines = drawn(ROWS).split('\n');
  assert.match(lines[0]!, /^ {4}3\.000 ┤·/);
  assert.match(lines[3]!, /o/);
  assert.match(lines[11]!, /^ {4}2\.000 ┤ +·$/);
  assert.match(lines[12]!, /^ {11}step 3\/3 \| loss$/);
  assert.ok(!drawn(ROWS.slice(0, 1)).includes('NaN'));
});

test('a curve is drawn over the last one, but not over what was written since', () => {
  let text = '';
  const error = (more: string) => {
    text += more;
  };
  const plot = createLossPlot({ isTTY: true, error, out: error });
  const step = (row: StepMetrics) => ({ type: 'step' as const, totalSteps: 3, ...row });
  const drawn = () => {
    const last = text;
    text = '';
    return last;
  };
  plot.add(step(ROWS[0]!), '');
  assert.ok(!drawn().includes('\x1b'));
  plot.add(step(ROWS[1]!), '');
  assert.ok(drawn().startsWith('\x1b[13A\x1b[J'));
  plot.leave();
  plot.add(step(ROWS[2]!), '');
  assert.ok(!drawn().includes('\x1b'));
});
