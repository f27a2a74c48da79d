// Several servers over one store, in virtual time, and what happens to them. All that the invariants talk about is checked
// after every event.
import { createHash } from 'node:crypto';
import { mkdirSync } from 'node:fs';
import path from 'node:path';
import { ServeError } from '../../src/common/errors.ts';
import { retry } from '../../src/common/waiting.ts';
import { writeAdapter } from './adapters.ts';
import { VirtualTime } from './clock.ts';
import { type Command, type Story, TENANTS } from './commands.ts';
import { WorldKeys } from './keys.ts';
import type { Bug, Reporter } from './parts.ts';
import { Requests } from './requests.ts';
import { BASE, Server } from './server.ts';
import { VirtualStore } from './store.ts';
import { StoreChecks } from './store-checks.ts';
import { createTrainers, type TrainerFaults } from './trainer.ts';
import { Violation } from './violation.ts';

/** How a run ended. */
export interface Outcome {
  /** SHA-256 over everything that happened, in order. */
  readonly traceHash: string;
  readonly violation: Violation | undefined;
  /** How often each kind of answer was given, and how jobs ended. */
  readonly outcomes: ReadonlyMap<string, number>;
  readonly virtualMs: number;
  readonly lines: readonly string[];
}

const DRAIN_MS = 3_000;
/** Within this time after the last fault, all requests are answered and all jobs are over or paused. */
const LIVENESS_MS = 600_000;
const SAFETY_MS = 2_000;
const DAY_MS = 25 * 3_600_000;
const PUBLISH_TRIES = 4;

interface Place {
  server: Server;
  requests: Requests;
  readonly home: string;
  readonly trainerFaults: TrainerFaults;
  starts: number;
  isStarting: boolean;
}

/** The servers, the store and the clients of a story. */
export class World implements Reporter {
  readonly #story: Story;
  readonly #bug: Bug;
  readonly #root: string;
  readonly #published: ReadonlyMap<string, Uint8Array>;
  readonly #time = new VirtualTime();
  readonly #store: VirtualStore;
  readonly #checks: StoreChecks;
  readonly #places: Place[] = [];
  readonly #keys: WorldKeys;
  readonly #jobs: { tenant: string; id: string }[] = [];
  readonly #trace = createHash('sha256');
  readonly #lines: string[] = [];
  readonly #outcomes = new Map<string, number>();
  #promptCount = 0;
  #publicationCount = 0;
  #violation: Violation | undefined;

  /** `root` is a folder of its own; `published` are the objects that the store begins with, by key. */
  constructor(
    story: Story,
    bug: Bug,
    { root, published }: { root: string; published: ReadonlyMap<string, Uint8Array> },
  ) {
    this.#published = published;
    this.#story = story;
    this.#bug = bug;
    this.#root = root;
    this.#keys = new WorldKeys(path.join(root, 'keys.json'));
    this.#store = new VirtualStore(this.#time, this);
    this.#checks = new StoreChecks(this.#store, this.#time, this);
  }

  trace = (line: string): void => {
    const full = `${this.#time.nowMs.toFixed(3)} ${line}`;
    this.#trace.update(`${full}\n`);
    this.#lines.push(full);
  };

  violated = (invariant: string, message: string): void => {
    this.#violation ??= new Violation(invariant, message);
  };

  async run(): Promise<Outcome> {
    try {
      await this.#prepare();
      for (const command of this.#story.commands) {
        this.trace(JSON.stringify(command));
        await this.#apply(command);
        this.#throwViolation();
      }
      if (this.#story.mode === 'liveness') await this.#finish();
      else await this.#runFor(SAFETY_MS);
      this.#throwViolation();
    } catch (error) {
      if (!(error instanceof Violation)) throw error;
    }
    for (const { server, requests } of this.#places) {
      server.kill();
      this.#count(requests);
    }
    for (const status of await this.#checks.statuses(this.#jobs)) {
      this.#outcomes.set(`job ${status}`, (this.#outcomes.get(`job ${status}`) ?? 0) + 1);
    }
    return {
      traceHash: this.#trace.digest('hex'),
      violation: this.#violation,
      outcomes: this.#outcomes,
      virtualMs: this.#time.nowMs,
      lines: this.#lines,
    };
  }

  async #prepare(): Promise<void> {
    for (const [key, bytes] of this.#published) await this.#store.raw.put(key, bytes);
    for (let i = 0; i < this.#story.serverCount; i++) {
      const home = path.join(this.#root, `server-${i}`);
      mkdirSync(home);
      const place = { home, trainerFaults: { deaths: 0 }, starts: 0, isStarting: false } as Place;
      this.#places.push(place);
      await this.#start(i);
    }
    await this.#runFor(1_000);
  }

  async #start(index: number): Promise<void> {
    const place = this.#places[index]!;
    const { home, trainerFaults } = place;
    if (place.requests) this.#count(place.requests);
    place.server = await Server.start({
      time: this.#time,
      store: this.#store,
      reporter: this,
      bug: this.#bug,
      name: `s${index}`,
      seed: (this.#story.seed ^ (index * 7919)) + 131 * place.starts++,
      home,
      keysFile: this.#keys.file,
      prefillChunk: this.#story.prefillChunk,
      createRunner: (machine) => createTrainers(machine, trainerFaults),
      trains: index === 0 || this.#story.serverCount > 2,
    });
    place.requests = new Requests(place.server, this, this.#keys.revokedAtMs);
    this.trace(`s${index} starts`);
  }

  #count({ outcomes }: Requests): void {
    for (const [outcome, count] of outcomes) {
      this.#outcomes.set(outcome, (this.#outcomes.get(outcome) ?? 0) + count);
    }
    outcomes.clear();
  }

  #adapter(code: number): string {
    const directory = path.join(this.#root, `adapter-${code}`);
    writeAdapter(directory, code);
    return directory;
  }

  async #runFor(ms: number): Promise<void> {
    await this.#time.runFor(ms, () => this.#check());
    for (const [i, { server }] of this.#places.entries()) {
      if (!server.isOver) continue;
      server.kill(); // what its process still did ends with it
      await this.#start(i);
    }
  }

  #check(): void {
    for (const { server, requests } of this.#places) {
      server.process?.check();
      requests.check(DRAIN_MS);
    }
    this.#throwViolation();
  }

  #throwViolation(): void {
    if (this.#violation) throw this.#violation;
  }

  #place(index: number): Place {
    return this.#places[index % this.#places.length]!;
  }

  /** Does some work on a server. Whatever its error, the world goes on. */
  #do(server: Server, work: () => Promise<unknown>): void {
    server.busy++;
    work()
      .catch((error) => {
        if (!(error instanceof ServeError)) this.violated('I08', String(error?.stack ?? error));
        this.trace(`refused: ${error.code}`);
      })
      .finally(() => server.busy--);
  }

  async #apply(command: Command): Promise<void> {
    switch (command.type) {
      case 'tick':
        return this.#runFor(command.ms);
      case 'nextDay':
        this.#time.skip(DAY_MS);
        return this.#runFor(1);
      case 'submit':
        return this.#submit(command);
      case 'burst':
        for (let i = 0; i < command.count; i++) {
          const tenant = command.isMixed ? TENANTS[i % TENANTS.length]! : command.of.tenant;
          this.#submit({ ...command.of, tenant });
        }
        return;
      case 'abort':
        return this.#place(command.pick).requests.abort(command.pick);
      case 'slowRead':
        return this.#place(command.pick).requests.slowDown(command.pick, command.pauseMs);
      case 'publish':
        return this.#publish(command);
      case 'delete': {
        const { server } = this.#place(command.server);
        this.#checks.removed(command.tenant, command.name);
        return this.#do(server, () => server.published.remove(command.tenant, command.name));
      }
      case 'createJob':
        return this.#createJob(command);
      case 'actOnJob': {
        const job = this.#jobs[command.pick % Math.max(1, this.#jobs.length)];
        const { server } = this.#place(command.server);
        if (job)
          this.#do(server, () => server.jobs.service.act(job.tenant, job.id, command.action));
        return;
      }
      case 'revokeKey':
        this.#keys.change(command, this.#time.nowMs);
        return;
      case 'evictPressure':
        for (const [tenant, model] of [
          ['a', 'x'],
          ['b', 'x'],
          ['a', 'y'],
          ['c', 's'],
          ['b', 'y'],
        ] as const) {
          const of = { model, family: 0 as const, promptLength: 9, maxTokens: 6, stops: false };
          this.#submit({ server: command.server, tenant, key: 0, ...of });
        }
        return;
      case 'storeFault':
        return this.#store.fail(command.fault, command.count);
      case 'engineFault':
        return this.#failEngine(command);
      case 'trainerDies':
        this.#place(command.server).trainerFaults.deaths++;
        return;
      case 'clockJump':
        return this.#place(command.server).server.machine.jump(command.hours * 3_600_000);
      case 'freeze': {
        const { server } = this.#place(command.server);
        server.machine.freeze(command.seconds * 1000);
        return;
      }
      case 'serverDies':
        this.#place(command.server).server.kill();
        return;
      case 'drain': {
        const { server } = this.#place(command.server);
        if (server.drainedAtMs === undefined) this.#do(server, () => server.drain(DRAIN_MS));
      }
    }
  }

  #submit(of: Omit<Extract<Command, { type: 'submit' }>, 'type'>): void {
    const { server, requests } = this.#place(of.server);
    if (server.isOver) return;
    const key = this.#keys.textOf(of.tenant, of.key);
    this.#promptCount++;
    const shared = Math.min(of.promptLength, 32 * (of.family > 0 ? 1 : 0));
    const promptIds = Array.from({ length: of.promptLength }, (_, i) =>
      i < shared ? 100 * of.family + i : 1000 + ((this.#promptCount * 61 + i) % 9000),
    );
    const trained = this.#jobs.findLast(({ tenant }) => tenant === of.tenant)?.id;
    const model = of.model === 'trained' ? trainedModel(of.tenant, trained) : of.model;
    const { maxTokens, stops } = of;
    this.#do(server, () => requests.send({ key, model, promptIds, maxTokens, stops }));
  }

  #publish({ server: index, tenant, name, code }: Extract<Command, { type: 'publish' }>): void {
    const { server } = this.#place(index);
    const directory = this.#adapter(code);
    const publicationId = `publication-${++this.#publicationCount}`;
    const options = { publicationId, baseDigest: BASE.digest };
    this.#do(server, async () => {
      const manifest = await retry(
        () => server.repository.publish({ tenant, name }, { directory }, options),
        { clock: server.machine, firstMs: 500, longestMs: 4_000, maxTries: PUBLISH_TRIES },
      );
      server.published.forget(tenant, name);
      await this.#checks.published(publicationId, manifest);
    });
  }

  #createJob({ server: index, tenant, seed }: Extract<Command, { type: 'createJob' }>): void {
    const { server } = this.#place(index);
    const row = JSON.stringify({ prompt: 'a', completion: 'b' });
    const source = Buffer.from(`${row}\n`.repeat(10));
    this.#do(server, async () => {
      const { files, service } = server.jobs;
      const facts = { filename: 'rows.jsonl', purpose: 'fine-tune' as const };
      const file = await files.create(tenant, { source, byteSize: source.length, ...facts });
      const job = await service.create(
        { id: tenant, isAdmin: false, weight: 1, limits: {} },
        {
          model: 'toy',
          trainingFile: file.id,
          suffix: 'z',
          seed,
          hyperparameters: { nEpochs: 1, batchSize: 1, learningRateMultiplier: 1 },
          settings: {},
        },
      );
      this.#jobs.push({ tenant, id: job.id });
    });
  }

  #failEngine({ server: index, fault }: Extract<Command, { type: 'engineFault' }>): void {
    const { process } = this.#place(index).server;
    if (!process) return;
    const { faults } = process.engine;
    if (fault === 'crash') process.end(null, 'SIGSEGV');
    else if (fault === 'kill') process.end(null, 'SIGKILL');
    else if (fault === 'refuse') process.end(1, null);
    else if (fault === 'stop') process.machine.freeze(20_000);
    else if (fault === 'slow') faults.slowRuns += 10;
    else if (fault === 'throw') faults.throws++;
    else if (fault === 'nan') faults.nanRows++;
    else faults.hang = fault;
  }

  /** The work of clients that has not ended. */
  #busyCount(): number {
    return this.#places.reduce((sum, { server }) => sum + server.busy, 0);
  }

  /** Ends all faults, and waits until everything is over. */
  async #finish(): Promise<void> {
    this.trace('faults end');
    this.#store.heal();
    for (const { server, trainerFaults } of this.#places) {
      trainerFaults.deaths = 0;
      server.machine.thaw();
      if (server.process) server.process.engine.faults.slowRuns = 0;
    }
    const endMs = this.#time.nowMs + LIVENESS_MS;
    while (this.#time.nowMs < endMs) {
      await this.#runFor(2_000);
      const isQuiet = this.#places.every(({ requests }) => requests.isQuiet);
      if (!isQuiet || this.#busyCount() > 0) continue;
      if ((await this.#checks.statuses(this.#jobs)).every(isAtRest)) break;
    }
    for (const { requests } of this.#places) {
      if (!requests.isQuiet) this.violated('I08', 'a sequence never ended');
    }
    if (this.#busyCount() > 0) {
      this.violated('I08', `${this.#busyCount()} requests were never answered`);
    }
    for (const status of await this.#checks.statuses(this.#jobs)) {
      if (!isAtRest(status)) this.violated('I08', `a job is ${status} for ever`);
    }
    await this.#runFor(1_000);
    for (const { server } of this.#places) server.process?.checkIdle();
  }
}

function isAtRest(status: string): boolean {
  return ['succeeded', 'failed', 'cancelled', 'paused'].includes(status);
}

function trainedModel(tenant: string, job: string | undefined): string {
  return job === undefined ? 'z' : `ft:toy:${tenant}:z:${job.slice('ftjob-'.length)}`;
}
