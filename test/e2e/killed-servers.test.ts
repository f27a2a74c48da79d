// The server and all of its processes are killed at random points of the path from a file to an answer of the trained
// adapter. Its client goes on where it was. Each job ends with the bytes of an undisturbed one or fails with a reason, and
// nothing is left behind.
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { existsSync, readdirSync, readFileSync, utimesSync } from 'node:fs';
import path from 'node:path';
import { type TestContext, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import OpenAI, { toFile } from 'openai';
import { seededRandom, temporaryFolder } from '../fixtures.ts';
import { type Serving, startServing, succeed } from './program.ts';
import { numberRows, readLines } from './rows.ts';

const skip = process.platform === 'linux' ? false : 'kills a session that setsid made';
/** Kills in each part, and the parts, which have seeds and servers of their own. */
const [POINTS, PARTS] = process.env['LORIKEET_E2E_LONG'] ? [20, 5] : [4, 1];
/** Of the points, some are killed again while they recover. */
const SECOND_KILLS = 0.25;
const ARGS = ['--model', 'models/toy', '--slots', '2'];
const ROWS = 16;
const EPOCHS = 2;
const BATCH = 4;
const STEPS = (ROWS / BATCH) * EPOCHS;
const TRAINING_FILE = Buffer.from(numberRows(ROWS).join('\n'));
const POLL_MS = 5;
/** A job that takes longer is stuck. */
const DEADLINE_MS = 180_000;
const VERSION_FILES = [
  'adapter_config.json',
  'adapter_model.safetensors',
  'manifest.json',
  'publishing.json',
];

const PHASES = ['upload', 'create', 'validate', 'train', 'publish', 'serve'] as const;
type Phase = (typeof PHASES)[number];

/** A client's way from a file to an answer. It remembers what it has, so it goes on where it was after a failure. */
class Flow {
  readonly name: string;
  readonly #home: string;
  readonly #began = new Map<Phase, number>();
  #file: string | undefined;
  job: OpenAI.FineTuning.FineTuningJob | undefined;
  answer: string | null | undefined;

  constructor(name: string, home: string) {
    this.name = name;
    this.#home = home;
  }

  /** Throws the client's error if the server goes away. */
  async goOn(url: string): Promise<void> {
    const client = new OpenAI({ baseURL: `${url}/v1`, apiKey: 'none', maxRetries: 0 });
    this.#enter('upload');
    this.#file ??= (await upload(client)).id;
    this.#enter('create');
    this.job ??= await client.fineTuning.jobs.create(
      {
        ...{ model: 'base', training_file: this.#file, suffix: this.name, seed: 7 },
        hyperparameters: { n_epochs: EPOCHS, batch_size: BATCH },
      },
      { headers: { 'idempotency-key': this.name } },
    );
    this.#enter('validate');
    await this.#follow(client, this.job.id);
    if (this.job.status === 'failed') return;
    this.#enter('serve');
    const messages = [{ role: 'user' as const, content: 'Number 3?' }];
    const asked = { model: this.job.fine_tuned_model!, messages, temperature: 0, max_tokens: 4 };
    this.answer = (await client.chat.completions.create(asked)).choices[0]!.message.content;
  }

  /** Resolves once the phase has begun or the flow has ended. */
  async reached(phase: Phase, end: AbortSignal): Promise<void> {
    while (!this.#began.has(phase) && !end.aborted) await delay(POLL_MS);
  }

  /** Milliseconds. The last phase ends now. */
  durations(): Record<Phase, number> {
    const times = [...PHASES.map((phase) => this.#began.get(phase)!), performance.now()];
    return Object.fromEntries(
      PHASES.map((phase, i) => [phase, times[i + 1]! - times[i]!]),
    ) as Record<Phase, number>;
  }

  async #follow(client: OpenAI, id: string): Promise<void> {
    const deadlineMs = performance.now() + DEADLINE_MS;
    for (;;) {
      this.job = await client.fineTuning.jobs.retrieve(id);
      if (this.job.status === 'succeeded' || this.job.status === 'failed') return;
      if (this.job.status === 'running') this.#enter('train');
      if (this.#hasAllSteps(id)) this.#enter('publish');
      const stuck = `${this.name} is ${this.job.status} after ${DEADLINE_MS} ms`;
      assert.ok(performance.now() < deadlineMs, stuck);
      await delay(POLL_MS);
    }
  }

  /** The run's own file is ahead of the job's events. */
  #hasAllSteps(id: string): boolean {
    const folder = path.join(this.#home, 'cache/jobs', `${id}.local`);
    const runs = existsSync(folder) ? readdirSync(folder) : [];
    const stepsOf = (run: string) => readLines(path.join(folder, run, 'metrics.jsonl')).length;
    return runs.some((run) => run.startsWith('run-') && stepsOf(run) === STEPS);
  }

  #enter(phase: Phase): void {
    if (!this.#began.has(phase)) this.#began.set(phase, performance.now());
  }
}

for (let part = 1; part <= PARTS; part++) {
  test(
    `F16, F25, T21, T25, T41, I18, I20: a server that is killed at random points from the file to the answer leaves whole jobs and no litter (part ${part})`,
    {
      skip,
    },
    (t) => killAtRandomPoints(t, part),
  );
}

async function killAtRandomPoints(t: TestContext, seed: number): Promise<void> {
  const home = temporaryFolder(t);
  const start = () => startServing(ARGS, home, {}, ['setsid']);
  let serving = await start();
  t.after(() => killAll(serving));
  const calm = new Flow('calm', home);
  await calm.goOn(serving.url);
  const durations = calm.durations();

  const random = seededRandom(seed);
  const uniform = () => (random() + 1) / 2;
  const flows: Flow[] = [];
  let kills = 0;
  for (let point = 0; point < POINTS; point++) {
    const flow = new Flow(`killed-${point}`, home);
    flows.push(flow);
    // Every phase gets as many kills: most of what can go wrong is in the short ones.
    const phases: Phase[] = [PHASES[(point + seed + 3) % PHASES.length]!];
    if (uniform() < SECOND_KILLS) phases.push(PHASES[Math.floor(uniform() * PHASES.length)]!);
    for (const phase of phases) {
      const ended = new AbortController();
      const going = flow
        .goOn(serving.url)
        .catch(expectConnectionError)
        .finally(() => ended.abort());
      await flow.reached(phase, ended.signal);
      await delay(uniform() * durations[phase]);
      await killAll(serving);
      await going;
      serving = await start();
      kills++;
    }
    await flow.goOn(serving.url);
  }
  ageLeftovers(home);
  // An upload removes what is left of its tenant's uploads.
  await upload(new OpenAI({ baseURL: `${serving.url}/v1`, apiKey: 'none' }));
  assert.equal(await serving.stop(), 0);
  // The first write of a process removes what others left in the middle of a write.
  for (const command of [
    ['alias', 'calm', 'first', '1'],
    ['gc', '--grace', '0'],
  ]) {
    await succeed(['adapters', ...command], home);
  }

  const failed = flows.filter(({ job }) => job!.status === 'failed');
  t.diagnostic(
    `${kills} kills, ${flows.length - failed.length} succeeded, ${failed.length} failed`,
  );
  for (const { name, job } of failed) assert.ok(job!.error?.message, `${name} has no reason`);
  const calmDigests = digestsOf(home, 'calm');
  assert.equal(calmDigests.length, EPOCHS + 1);
  for (const { data } of calmDigests) assert.equal(data, sha256(TRAINING_FILE));
  for (const { name, job, answer } of flows) {
    if (job!.status === 'failed') continue;
    assert.deepEqual(digestsOf(home, name), calmDigests, name);
    assert.equal(answer, calm.answer, name);
  }
  assert.deepEqual(litter(home, [calm, ...flows]), []);
}

async function upload(client: OpenAI): Promise<OpenAI.FileObject> {
  const file = await toFile(TRAINING_FILE, 'rows.jsonl');
  return client.files.create({ file, purpose: 'fine-tune' });
}

/** Resolves when none of its processes is left: they all share its standard output. */
async function killAll({ child }: Serving): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const closed = once(child, 'close');
  process.kill(-child.pid!, 'SIGKILL');
  await closed;
}

function expectConnectionError(error: unknown): void {
  if (!(error instanceof OpenAI.APIConnectionError)) throw error;
}

/** Moves the times of unfinished writes, and of contents, back by more than a day. */
function ageLeftovers(home: string): void {
  const time = new Date(Date.now() - 25 * 3_600_000);
  const files = path.join(home, 'store/local/.files');
  const unfinished = path.join(home, 'store/~lorikeet/new');
  const contents = readdirSync(files).map((id) => path.join(files, id, 'content'));
  const writes = readdirSync(unfinished).map((name) => path.join(unfinished, name));
  for (const file of [...contents, ...writes]) if (existsSync(file)) utimesSync(file, time, time);
}

const sha256 = (content: string | Uint8Array) => createHash('sha256').update(content).digest('hex');

/** The digests of a name's versions and of the data that they were trained on, by number. */
function digestsOf(home: string, name: string): { digest: string; data: string }[] {
  const folder = path.join(home, 'store/local', name);
  const numbers = readdirSync(folder).filter((entry) => /^\d+$/.test(entry));
  return numbers
    .sort((a, b) => Number(a) - Number(b))
    .map((version) => {
      const manifest = readFileSync(path.join(folder, version, 'manifest.json'), 'utf8');
      const { digest, training } = JSON.parse(manifest);
      return { digest, data: training.data.sha256 };
    });
}

/** Lists the files below `home` that nothing leads to. */
function litter(home: string, flows: readonly Flow[]): string[] {
  const all = readdirSync(home, { recursive: true, withFileTypes: true })
    .filter((entry) => !entry.isDirectory())
    .map((entry) => path.relative(home, path.join(entry.parentPath, entry.name)));
  const isThere = new Set(all);
  const isJob = new Set(flows.map(({ job }) => job!.id));
  const isName = new Set(flows.map(({ name }) => name));
  const isKey = new Set(flows.map(({ name }) => sha256(name)));
  const isWhole = (folder: string, files: readonly string[]) =>
    files.every((file) => isThere.has(`${folder}/${file}`));
  return all.filter((file) => {
    const [place, tenant, kind, id = '', name = '', rest] = file.split('/');
    const folder = path.dirname(file);
    if (rest !== undefined) return true;
    if (place === 'cache') {
      const isAdapter =
        tenant === 'adapters' && /^adapter_(config\.json|model\.safetensors)$/.test(name);
      return !(isAdapter || /^\w+-int8(-plain|-packed)?-v\d+$/.test(tenant!));
    }
    if (tenant === '.usage') return false; // of each server that was started
    if (kind === '.idempotency') return !isKey.has(id); // for a day
    if (kind === '.files') return !isWhole(folder, ['content', 'meta.json']);
    if (kind === '.jobs') return !isJob.has(id) || name !== 'job.json';
    if (!isName.has(kind!)) return true;
    return id === 'alias.json' ? false : !isWhole(folder, VERSION_FILES);
  });
}
