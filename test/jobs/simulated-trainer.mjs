// Simulates the trainer: it has the run folder, messages, signals and determinism of the real one, and learns nothing. The
// prompts of the training file's rows hold a JSON object that says what it does:
// `steps`, `perEpoch` (a snapshot and a checkpoint after each), `rewards` (of the validation after each step), `plan` (fields of the plan), `refusal` (a fault, at planning),
// `samples` (the reward of a sample of each step), `fault` (at the end), `card`, `gates` (a folder: step n waits for its file `n`), `dieAfter` (steps; once each), `diesBefore` (a step; always), `wordless`
// (the first planning ends without a word), `needsRoom` (a file: until it is there, the disk is full after the first epoch).
import {
  appendFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import path from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { SAMPLE_PLAN } from './sample-plan.mjs';
import { writeState } from './trainer-state.mjs';

let isPaused = false;
const request = await new Promise((resolve) => {
  process.on('message', (message) => {
    if (message.type === 'request') resolve(message.request);
    else isPaused = true;
  });
});
const dir = request.outDir ?? request.runDir;
const job = request.job?.overrides ?? JSON.parse(readFileSync(path.join(dir, 'job.json'), 'utf8'));
const [firstRow] = readFileSync(job.data, 'utf8').split('\n');
const { prompt, input, messages } = JSON.parse(firstRow);
const told = JSON.parse(prompt ?? (messages ?? input.messages)[0].content);
const { steps = 4, perEpoch = 2 } = told;
const send = (message) => new Promise((resolve) => process.send(message, resolve));
const event = (code, message) => send({ type: 'event', level: 'info', code, message });

process.on('disconnect', () => process.exit(1));

/** Whether this happens for the first time: told by a file beside the data. */
function isFirst(what) {
  const file = `${job.data}.${what}`;
  if (existsSync(file)) return false;
  writeFileSync(file, '');
  return true;
}

async function plan() {
  if (told.wordless && isFirst('plan')) process.kill(process.pid, 'SIGKILL');
  if (told.refusal) {
    await send({ type: 'fault', param: null, ...told.refusal });
    process.exit(1);
  }
  const planned = {
    ...SAMPLE_PLAN,
    validationExamples: job.validation ? 5 : 0,
    totalSteps: steps,
    stepsPerEpoch: perEpoch,
    ...told.plan,
  };
  await send({ type: 'plan', plan: planned });
}

const numberOf = (name) => Number(/^step-(\d+)$/.exec(name)?.[1] ?? 0);
const stepsIn = (folder) =>
  existsSync(folder) ? readdirSync(folder).map(numberOf).filter(Boolean) : [];

function writeCheckpoint(step) {
  writeState(dir, step);
  for (const other of stepsIn(path.join(dir, 'checkpoints'))) {
    if (other < step - 2)
      rmSync(path.join(dir, 'checkpoints', `step-${other}`), { recursive: true });
  }
  return event('checkpoint', `Checkpoint created at step ${step}`);
}

/** A PEFT folder whose weights follow from seed and step. */
function writeAdapter(folder, step) {
  mkdirSync(folder, { recursive: true });
  const config = {
    peft_type: 'LORA',
    r: 1,
    lora_alpha: 2,
    bias: 'none',
    target_modules: ['q_proj'],
  };
  const prefix = 'base_model.model.model.layers.0.self_attn.q_proj';
  const header = JSON.stringify({
    [`${prefix}.lora_A.weight`]: { dtype: 'F32', shape: [1, 4], data_offsets: [0, 16] },
    [`${prefix}.lora_B.weight`]: { dtype: 'F32', shape: [4, 1], data_offsets: [16, 32] },
  }).padEnd(320);
  const size = Buffer.alloc(8);
  size.writeBigUInt64LE(BigInt(header.length));
  const values = Float32Array.from({ length: 8 }, (_, i) => step + (job.seed % 100) / 100 + i / 8);
  const bytes = Buffer.concat([size, Buffer.from(header), Buffer.from(values.buffer)]);
  writeFileSync(path.join(folder, 'adapter_config.json'), JSON.stringify(config));
  writeFileSync(path.join(folder, 'adapter_model.safetensors'), bytes);
}

const metricsOf = (step) => ({
  loss: 4 / step,
  tokenAccuracy: 1 - 1 / step,
  ...(job.objective === 'dpo' && { 'rewards/margins': job.beta * step }),
  ...(told.rewards && rewardsOf(step)),
});

/** The rewards that the file says, by a grader that asks a model and could not read one of its answers. */
function rewardsOf(step) {
  const reward = told.rewards[step - 1];
  const [name, type, model] = ['judge', 'score_model', 'base'];
  const tokens = { promptTokens: 40, completionTokens: 8 };
  const errors = { model_grader_parse_error: 1 };
  const graders = [{ name, type, model, score: reward, seconds: 0.5, ...tokens, errors }];
  return {
    reward: reward / 2,
    eval_reward: reward,
    validationLoss: -reward,
    'completions/mean_length': 5,
    'profiling/sampling': 2,
    'profiling/grading': 1,
    'profiling/training': 4,
    trainGrading: { samples: 4, errors: { ...errors, other_error: 2 }, graders },
    validGrading: { samples: 2, seconds: 1.5, errors, graders },
  };
}

/** The result is the adapter with the highest reward. */
const bestStep = () => (told.rewards ? told.rewards.indexOf(Math.max(...told.rewards)) + 1 : steps);

function tellSnapshot(step) {
  const directory = path.join(dir, 'snapshots', `step-${step}`);
  writeAdapter(directory, step);
  const { trainGrading, validGrading, ...metrics } = metricsOf(step);
  return send({ type: 'snapshot', step, directory, metrics });
}

async function run() {
  mkdirSync(dir, { recursive: true });
  writeFileSync(path.join(dir, 'job.json'), JSON.stringify(job));
  const first = Math.max(0, ...stepsIn(path.join(dir, 'checkpoints')));
  await event('started', 'Fine-tuning job started');
  if (first > 0) await event('resumed', `Resumed after step ${first}`);
  for (let step = first + 1; step <= steps; step++) {
    while (told.gates && !existsSync(path.join(told.gates, String(step))) && !isPaused) {
      await setTimeout(2);
    }
    if (isPaused) {
      await writeCheckpoint(step - 1);
      return event('paused', 'Paused');
    }
    if (step > perEpoch && told.needsRoom && !existsSync(told.needsRoom)) {
      await send({ type: 'fault', code: 'disk_full', message: 'full', param: null });
      process.exit(1);
    }
    if (told.diesBefore === step) process.kill(process.pid, 'SIGKILL');
    await tellStep(step);
    if (told.dieAfter?.includes(step) && isFirst(`died-${step}`)) {
      process.kill(process.pid, 'SIGKILL');
    }
    if (step % perEpoch !== 0 && step !== steps) continue;
    await tellSnapshot(step);
    await writeCheckpoint(step);
  }
  await finish();
}

async function tellStep(step) {
  if (told.samples) {
    const [reward, parts] = [told.samples * step, { alike: step }];
    const sample = { text: 'Blue.', tokens: 2, finish: 'stop', reward, parts };
    const prompts = [{ text: 'Which?', completions: [sample] }];
    await send({ type: 'samples', step, prompts });
  }
  const metrics = { step, ...metricsOf(step), learningRate: 0.001, tokensPerSecond: 100 };
  appendFileSync(path.join(dir, 'metrics.jsonl'), `${JSON.stringify(metrics)}\n`);
  await send({ type: 'step', totalSteps: steps, ...metrics });
}

async function finish() {
  await send({ type: 'card', card: { gates: [], skipped: [], ...told.card } });
  if (told.fault) {
    await send({ type: 'fault', param: null, ...told.fault });
    process.exit(1);
  }
  const directory = path.join(dir, 'adapter');
  writeAdapter(directory, bestStep());
  const resultFile = path.join(dir, 'result.csv');
  writeFileSync(
    resultFile,
    'step,train_loss,train_accuracy,valid_loss,valid_mean_token_accuracy\n',
  );
  await send({
    type: 'trained',
    directory,
    ...(!told.tableless && { resultFile }),
    totalSteps: steps,
    trainedTokens: 40 * steps,
  });
}

await (request.command === 'plan' ? plan() : run());
process.disconnect();
