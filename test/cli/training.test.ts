// What the commands of the trainer show: phases and steps in place, and what an interrupt does.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { runCommandLine } from '../../src/cli/command-line.ts';
import { PROGRAMS } from '../../src/cli/programs.ts';
import { createTrainerDisplay } from '../../src/cli/trainer-display.ts';
import type { StepMessage } from '../../src/contracts/training-messages.ts';

function recorder() {
  const shown = { text: '' };
  const error = (text: string) => {
    shown.text += text;
  };
  return { shown, terminal: { out: error, error } };
}

const step = (number: number, totalSteps: number): StepMessage => ({
  ...{ type: 'step', step: number, totalSteps, loss: 2, learningRate: 1e-3 },
  ...{ gradNorm: 1, tokens: 10, tokensPerSecond: 100, tokenAccuracy: 0.5 },
});

test('work before the first step has lines, and work between steps belongs to the line of the steps', () => {
  const { shown, terminal } = recorder();
  const show = createTrainerDisplay(terminal, false);
  show({ type: 'progress', phase: 'load base', done: 0, total: 2 });
  show({ type: 'progress', phase: 'step 1', done: 0, total: 0 });
  show(step(1, 4));
  show({ type: 'progress', phase: 'validate', done: 0, total: 2 });
  show(step(4, 4));
  show({ type: 'progress', phase: 'evaluate', done: 0, total: 0 });
  assert.match(
    shown.text,
    /^load base: 0%\nstep 1\ntrain: 25% loss 2.* tokens\/s\ntrain: 100% loss 2.* tokens\/s\nevaluate\n$/,
  );
});

test('the first interrupt of a run says what it waits for and what a second one does', async () => {
  const { shown, terminal } = recorder();
  const code = await runCommandLine(['train', '--data', 'rows.jsonl'], terminal, {
    ...PROGRAMS,
    async runTrainer(_, { signal }) {
      process.emit('SIGINT');
      return signal.aborted ? 7 : 0;
    },
  });
  assert.equal(code, 7);
  assert.match(
    shown.text,
    /^Interrupted: the run finishes its current step .* A second interrupt ends it now; it then resumes/,
  );
});
