// The figures of an adapter's versions: whoever releases one compares it with the one before.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ServeError } from '../../src/common/errors.ts';
import { Telemetry } from '../../src/telemetry/telemetry.ts';
import { facts } from './facts.ts';

const FIRST_TOKEN_MS = 20;
const TOKEN_MS = 5;

/** A telemetry with its own clock, and a request for a version of `zen` with three tokens. */
function open() {
  let now = 0;
  const telemetry = new Telemetry({ id: 'toy', baseDigest: 'b'.repeat(64), now: () => now });
  const begin = (version: number | undefined, isIdle?: true) => {
    const adapter = { key: 'k', owner: 'acme', name: 'zen', version };
    return telemetry.observe(telemetry.begin(undefined), facts({ adapter, isIdle }));
  };
  const answer = (version: number | undefined, isIdle?: true) => {
    const observer = begin(version, isIdle);
    observer.on({ type: 'submitted', index: 0 });
    observer.on({ type: 'admitted', index: 0, cachedTokens: 0 });
    for (const ms of [FIRST_TOKEN_MS, TOKEN_MS, TOKEN_MS]) {
      now += ms;
      observer.on({ type: 'token', index: 0, tokenId: 1, text: '', logprob: undefined });
    }
    observer.on({ type: 'finished', index: 0, reason: 'stop', rest: '' });
    observer.completed();
  };
  const of = (version: number) => telemetry.traffic.of({ owner: 'acme', name: 'zen', version });
  return { begin, answer, of };
}

test('each version has its requests, its errors and its latencies', () => {
  const { begin, answer, of } = open();
  assert.equal(of(1), undefined);
  for (let i = 0; i < 3; i++) answer(1);
  begin(2).failed(new ServeError('adapter_non_finite', 'x'));
  begin(2).abandoned();
  begin(2);
  assert.deepEqual(of(1), {
    running: 0,
    requests: 3,
    errors: 0,
    first_token_ms: FIRST_TOKEN_MS,
    token_ms: TOKEN_MS,
  });
  const none = { first_token_ms: null, token_ms: null };
  assert.deepEqual(of(2), { running: 1, requests: 2, errors: 1, ...none });
});

test('lines of batches count without their latencies, and adapters without versions do not', () => {
  const { answer, of } = open();
  answer(1, true);
  answer(undefined);
  assert.deepEqual([of(1)?.requests, of(1)?.first_token_ms], [1, null]);
});
