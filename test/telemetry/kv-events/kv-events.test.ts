// KV events on the wire, read by a plain subscriber.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect } from 'node:net';
import { type TestContext, test } from 'node:test';
import type { PrefixEvent } from '../../../src/contracts/engine.ts';
import { KvEvents } from '../../../src/telemetry/kv-events/kv-events.ts';
import { TestSubscriber } from './subscriber.ts';

const ADDRESS = { host: '127.0.0.1', port: 0 };
const TOPIC = { pod: '10.0.0.7:8080', model: 'toy' };
const TOPIC_TEXT = 'kv@10.0.0.7:8080@toy';
/** A digest whose last 64 bits are the number. */
const keyOf = (hash: bigint) => {
  const digest = Buffer.alloc(32, 0xaa);
  digest.writeBigUInt64BE(hash, 24);
  return digest.toString('base64url');
};
const LARGE = 2n ** 64n - 2n;
const tokenIds = Array.from({ length: 32 }, (_, i) => i * 300);
const STORED: PrefixEvent = {
  type: 'stored',
  keys: [keyOf(7n), keyOf(LARGE)],
  parent: undefined,
  tokenIds,
  adapter: undefined,
};
const FURTHER: PrefixEvent = {
  type: 'stored',
  keys: [keyOf(9n)],
  parent: keyOf(LARGE),
  tokenIds: tokenIds.slice(16),
  adapter: 'ab12',
};

async function open(t: TestContext): Promise<KvEvents> {
  const nameOf = (adapter: string) => `zen of ${adapter}`;
  const events = await KvEvents.listen(ADDRESS, TOPIC, {
    nameOf,
    unixNow: () => 1_700_000_000_500,
  });
  t.after(() => events.close());
  return events;
}

async function subscribe(
  t: TestContext,
  { port }: KvEvents,
  { prefix = 'kv@', asCommand = true } = {},
): Promise<TestSubscriber> {
  const subscriber = new TestSubscriber({ port, prefix, asCommand });
  t.after(() => subscriber.socket.destroy());
  assert.deepEqual(await subscriber.roundTrip(), []);
  return subscriber;
}

for (const asCommand of [true, false]) {
  test(`a subscriber of ZMTP ${asCommand ? '3.1' : '3.0'} gets vLLM's arrays, numbered without gaps`, async (t) => {
    const events = await open(t);
    events.publish([{ type: 'cleared' }]); // before anyone subscribed
    const subscriber = await subscribe(t, events, { asCommand });
    events.publish([STORED, FURTHER]);
    events.publish([{ type: 'removed', keys: [keyOf(9n), keyOf(7n)] }]);
    events.publish([{ type: 'cleared' }]);
    const seconds = 1_700_000_000.5;
    const stored = ['BlockStored', [7n, LARGE], null, tokenIds, 16, null, 'GPU', null];
    const further = [[9n], LARGE, tokenIds.slice(16), 16, null, 'GPU', 'zen of ab12'];
    assert.deepEqual(await subscriber.next(), {
      topic: TOPIC_TEXT,
      sequence: 1n,
      batch: [seconds, [stored, ['BlockStored', ...further]], 0],
    });
    const removed = ['BlockRemoved', [9n, 7n], 'GPU'];
    assert.deepEqual(await subscriber.next(), {
      topic: TOPIC_TEXT,
      sequence: 2n,
      batch: [seconds, [removed], 0],
    });
    assert.deepEqual((await subscriber.next()).batch, [seconds, [['AllBlocksCleared']], 0]);
  });
}

test('a subscriber to other topics gets nothing', async (t) => {
  const events = await open(t);
  const other = await subscribe(t, events, { prefix: 'kv@10.0.0.8' });
  const whole = await subscribe(t, events, { prefix: TOPIC_TEXT });
  events.publish([STORED]);
  assert.equal((await whole.next()).sequence, 0n);
  assert.deepEqual(await other.roundTrip(), []);
});

test('a subscriber that does not read misses whole messages, and the others miss none', async (t) => {
  const events = await open(t);
  const slow = await subscribe(t, events);
  const fast = await subscribe(t, events);
  slow.socket.pause();
  const large: PrefixEvent = { ...STORED, tokenIds: Array(500_000).fill(100_000) };
  for (let n = 0n; n < 12n; n++) {
    events.publish([large]);
    assert.equal((await fast.next()).sequence, n);
  }
  slow.socket.resume();
  const numbers = (await slow.roundTrip()).map(({ sequence }) => sequence);
  assert.ok(numbers.length >= 3 && numbers.length < 12, `${numbers}`);
  assert.deepEqual(
    numbers,
    numbers.toSorted((a, b) => Number(a - b)),
  );
});

for (const [what, bytes] of [
  ['HTTP', 'GET / HTTP/1.1\r\nhost: a-name-that-is-long-enough-for-a-greeting\r\n\r\n'],
  [
    'a frame of 2^60 bytes',
    `\xff${'\0'.repeat(8)}\x7f\x03\x01NULL${'\0'.repeat(48)}\x02\x10${'\0'.repeat(7)}`,
  ],
  ['a mechanism with passwords', `\xff${'\0'.repeat(8)}\x7f\x03\x01PLAIN${'\0'.repeat(47)}`],
  ['ZMTP 2.0', `\xff${'\0'.repeat(8)}\x7f\x01\x00${'\0'.repeat(52)}`],
] as const) {
  test(`${what} ends the connection`, async (t) => {
    const events = await open(t);
    const socket = connect(events.port, '127.0.0.1');
    socket.on('error', () => {}).resume();
    socket.write(Buffer.from(bytes, 'latin1'));
    await once(socket, 'close');
  });
}
