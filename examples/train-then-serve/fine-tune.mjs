// Fine-tunes with OpenAI's official client: uploads the files, creates a job, prints its events, and compares how many test
// rows the base and the fine-tuned model answer exactly. OPENAI_BASE_URL names another server than this machine's.
import { createReadStream } from 'node:fs';
import { readFile } from 'node:fs/promises';
import path from 'node:path';
import OpenAI from 'openai';

const baseURL = process.env.OPENAI_BASE_URL ?? 'http://127.0.0.1:8080/v1';
const client = new OpenAI({ baseURL, apiKey: process.env.OPENAI_API_KEY ?? 'none' });
const data = path.join(import.meta.dirname, 'data');
const PARALLEL = 8;
const POLL_MS = 2000;

const rows = (await readFile(path.join(data, 'test.jsonl'), 'utf8'))
  .trim()
  .split('\n')
  .map((line) => JSON.parse(line).messages);
console.log(`base: exact match ${await exactMatch('base')} of ${rows.length} rows`);

const [training, validation] = await Promise.all([upload('train'), upload('validation')]);
const job = await client.fineTuning.jobs.create({
  model: 'base',
  training_file: training.id,
  validation_file: validation.id,
  suffix: 'glosses',
  seed: 1,
  method: { type: 'supervised', supervised: { hyperparameters: { n_epochs: 1, batch_size: 8 } } },
});
const model = await follow(job.id);
console.log(`${model}: exact match ${await exactMatch(model)} of ${rows.length} rows`);

function upload(split) {
  const file = createReadStream(path.join(data, `${split}.jsonl`));
  return client.files.create({ file, purpose: 'fine-tune' });
}

/** Prints the job's events until it ends. */
async function follow(id) {
  const printed = new Set();
  for (;;) {
    const { status, fine_tuned_model, error } = await client.fineTuning.jobs.retrieve(id);
    const fresh = [];
    for await (const event of client.fineTuning.jobs.listEvents(id, { limit: 100 })) {
      if (printed.has(event.id)) break; // newest first
      printed.add(event.id);
      fresh.unshift(event);
    }
    for (const { message } of fresh) console.log(message);
    if (status === 'succeeded') return fine_tuned_model;
    if (status === 'failed' || status === 'cancelled') throw new Error(error?.message ?? status);
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }
}

async function exactMatch(name) {
  const waiting = [...rows];
  let right = 0;
  const work = async () => {
    for (let row = waiting.pop(); row; row = waiting.pop()) {
      const { choices } = await client.chat.completions.create({
        model: name,
        messages: row.slice(0, -1),
        max_tokens: 8,
        temperature: 0,
      });
      if (choices[0].message.content.trim() === row.at(-1).content) right++;
    }
  };
  await Promise.all(Array.from({ length: PARALLEL }, work));
  return (right / rows.length).toFixed(3);
}
