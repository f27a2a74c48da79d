// The phases of a sequence as spans: only those that it reached, one after the other, the last one until its end.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { RequestTrace, type SequenceTimes } from '../../src/telemetry/request-trace.ts';
import type { ChildSpan, TraceSpan } from '../../src/telemetry/tracing.ts';
import { facts } from './facts.ts';

class Recorder implements TraceSpan {
  readonly children: ChildSpan[] = [];
  readonly attributes: Record<string, unknown> = {};
  failed: string | undefined;
  setName() {}
  end() {}
  startChild() {
    return new Recorder();
  }
  setAttributes(attributes: Record<string, unknown>) {
    const set = Object.entries(attributes).filter(([, value]) => value !== undefined);
    Object.assign(this.attributes, Object.fromEntries(set));
  }
  setFailed(code: string) {
    this.failed = code;
  }
  addChild(child: ChildSpan) {
    this.children.push(child);
  }
}

function phasesOf(times: Partial<SequenceTimes>, changes: Parameters<typeof facts>[0] = {}) {
  const span = new Recorder();
  const trace = new RequestTrace(span, facts(changes), 0);
  trace.sequence(0, { submittedMs: 1, tokens: 0, ...times }, 9);
  return span.children.map(({ name, startMs, endMs }) => [name, startMs, endMs]);
}

const adapter = { adapterDigest: 'd' };

describe('a sequence', () => {
  test('with an adapter shows four phases', () => {
    const times = { acceptedMs: 2, admittedMs: 4, firstTokenMs: 7, tokens: 3 };
    assert.deepEqual(phasesOf(times, adapter), [
      ['adapter', 1, 2],
      ['queue', 2, 4],
      ['prefill', 4, 7],
      ['decode', 7, 9],
    ]);
  });

  test('of the base waits for no adapter', () => {
    const times = { acceptedMs: 2, admittedMs: 4, firstTokenMs: 7 };
    assert.deepEqual(phasesOf(times), [
      ['queue', 1, 4],
      ['prefill', 4, 7],
      ['decode', 7, 9],
    ]);
  });

  test('shows the phase in which it ended', () => {
    assert.deepEqual(phasesOf({}, adapter), [['adapter', 1, 9]]);
    assert.deepEqual(phasesOf({}), [['queue', 1, 9]]);
    assert.deepEqual(phasesOf({ acceptedMs: 2 }, adapter).at(-1), ['queue', 2, 9]);
    assert.deepEqual(phasesOf({ acceptedMs: 2, admittedMs: 3 }).at(-1), ['prefill', 3, 9]);
  });

  test('beyond the eighth is not shown', () => {
    const span = new Recorder();
    const trace = new RequestTrace(span, facts(), 0);
    for (let i = 0; i < 100; i++) trace.sequence(i, { submittedMs: 1, tokens: 0 }, 2);
    assert.equal(span.children.length, 8);
  });
});

test('an outcome other than ok is the error of the request', () => {
  const span = new Recorder();
  const trace = new RequestTrace(span, facts(), 0);
  const end = { outputTokens: 0, finishReasons: [], firstTokenMs: undefined };
  trace.end({ ...end, outcome: 'ok' });
  assert.equal(span.failed, undefined);
  assert.equal('gen_ai.response.finish_reasons' in span.attributes, false);
  trace.end({ ...end, outcome: 'overloaded' });
  assert.equal(span.failed, 'overloaded');
});
