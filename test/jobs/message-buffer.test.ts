// A slow consumer holds up neither the trainer nor the order of its messages.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { StepMessage, TrainerMessage } from '../../src/contracts/training-messages.ts';
import { MessageBuffer } from '../../src/jobs/trainer-child.ts';

function stepMessage(step: number, more: Partial<StepMessage> = {}): StepMessage {
  const rates = { learningRate: 1e-3, tokensPerSecond: 10, tokenAccuracy: 0.5 };
  return { type: 'step', step, totalSteps: 1000, loss: 1, ...rates, ...more };
}

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
  buffer.push(stepMessage(1));
  const { value: inHand } = await messages.next();
  for (let step = 2; step <= 900; step++) buffer.push(stepMessage(step));
  const validated = stepMessage(901, { validationLoss: 2 });
  const note = { type: 'note', text: 'done' } as const;
  buffer.push(validated);
  buffer.push(note);
  buffer.close();
  const first = Array.from({ length: 257 }, (_, i) => stepMessage(i + 1));
  assert.deepEqual([inHand, ...(await readAll(messages))], [...first, validated, note]);
});

test('messages after a pause are read, too; the last one before the end', async () => {
  const buffer = new MessageBuffer();
  const messages = buffer[Symbol.asyncIterator]();
  const first = messages.next();
  buffer.push(stepMessage(1));
  assert.deepEqual((await first).value, stepMessage(1));
  const rest = readAll(messages);
  buffer.push(stepMessage(2));
  buffer.close();
  assert.deepEqual(await rest, [stepMessage(2)]);
});
