// A slow handler holds up neither the trainer nor the order of what it is told.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { StepMessage, TrainerMessage } from '../../src/contracts/training.ts';
import { MessageQueue } from '../../src/jobs/message-queue.ts';

function stepMessage(step: number, more: Partial<StepMessage> = {}): StepMessage {
  const rates = { learningRate: 1e-3, tokensPerSecond: 10, tokenAccuracy: 0.5 };
  return { type: 'step', step, totalSteps: 1000, loss: 1, ...rates, ...more };
}

test('a handler that does not keep up is told of fewer steps, but of everything else', async () => {
  const handled: TrainerMessage[] = [];
  let goOn = () => {};
  const slow = new Promise<void>((resolve) => {
    goOn = resolve;
  });
  const queue = new MessageQueue(async (message) => {
    handled.push(message);
    if (handled.length === 1) await slow;
  });
  for (let step = 1; step <= 900; step++) queue.push(stepMessage(step));
  const validated = stepMessage(901, { validationLoss: 2 });
  const note = { type: 'note', text: 'done' } as const;
  queue.push(validated);
  queue.push(note);
  goOn();
  await queue.whenIdle();
  const first = Array.from({ length: 257 }, (_, i) => stepMessage(i + 1));
  assert.deepEqual(handled, [...first, validated, note]);
});

test('what comes after a pause is handled, too', async () => {
  const handled: TrainerMessage[] = [];
  const queue = new MessageQueue((message) => void handled.push(message));
  queue.push(stepMessage(1));
  await queue.whenIdle();
  queue.push(stepMessage(2));
  await queue.whenIdle();
  assert.deepEqual(handled, [stepMessage(1), stepMessage(2)]);
});
