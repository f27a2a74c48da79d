// A slow consumer holds up neither the trainer nor the order of its messages.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { TrainerMessage } from '../../src/contracts/training-messages.ts';
import { MessageBuffer } from '../../src/jobs/trainer-child.ts';
import { step } from './sample-jobs.ts';

async function readAll(messages: AsyncIterator<TrainerMessage>): Promise<TrainerMessage[]> {
  const read: TrainerMessage[] = [];
  for (let next = await messages.next(); !next.done; next = await messages.next()) {
    read.push(next.value);
  }
  return read;
}

test('a consumer that does not keep up gets fewer steps, but everything else', async () => {
  const buffer = new MessageBuffer();
  const messages = buffer[Symbol.asyncIterator]();
  buffer.push(step(1));
  const { value: inHand } = await messages.next();
  for (let i = 2; i <= 900; i++) buffer.push(step(i));
  const validated = step(901, { validationLoss: 2 });
  const note = { type: 'note', text: 'done' } as const;
  buffer.push(validated);
  buffer.push(note);
  buffer.close();
  const first = Array.from({ length: 257 }, (_, i) => step(i + 1));
  assert.deepEqual([inHand, ...(await readAll(messages))], [...first, validated, note]);
});

test('messages after a pause are read, too; the last one before the end', async () => {
  const buffer = new MessageBuffer();
  const messages = buffer[Symbol.asyncIterator]();
  const first = messages.next();
  buffer.push(step(1));
  assert.deepEqual((await first).value, step(1));
  const rest = readAll(messages);
  buffer.push(step(2));
  buffer.close();
  assert.deepEqual(await rest, [step(2)]);
});
