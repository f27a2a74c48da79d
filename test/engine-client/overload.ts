// Offers a server more than it can serve, on a virtual clock: the real client, loop and scheduler on the fake engine. Requests
// arrive at random with a fixed mean rate, and each is aborted when its time is over.
import { createLog } from '../../src/common/log.ts';
import { createInProcessClient } from '../../src/compose/in-process-client.ts';
import type { GenerationRequest } from '../../src/contracts/generation.ts';
import type { AdmissionLimits } from '../../src/engine-client/admission.ts';
import type { EngineClient } from '../../src/engine-client/client.ts';
import { isTerminal } from '../../src/scheduler/sequence.ts';
import { StepLoop } from '../../src/scheduler/step-loop.ts';
import { FakeEngine, FakeLeases, request } from '../scheduler/fake-engine.ts';
import { type Machine, VirtualTime } from '../simulation/clock.ts';

/** The time of a step: that of an engine on a CPU, which is slower with more rows. */
const STEP_MS = 20;
const ROW_MS = 2;
const PROMPT_TOKEN_MS = 0.3;

/** Requests of one tenant. */
export interface Stream {
  readonly tenant: string;
  readonly weight?: number;
  readonly perSecond: number;
  /** Undefined: it waits as long as it takes. */
  readonly timeMs?: number;
  /** The tokens of an answer at most: any number from the first to the last. */
  readonly tokens: readonly [number, number];
  /** Whether the limit of the tokens is higher, so that nobody knows when an answer ends. */
  readonly endsEarly?: boolean;
}

/** What came of a tenant's requests. */
export interface Outcome {
  offered: number;
  answered: number;
  /** Refused at once, by the code of the error. */
  readonly refused: Record<string, number>;
  /** Ended while they waited. */
  endedWaiting: number;
  /** Cut off after they had a slot. */
  cutOff: number;
  goodTokens: number;
  /** The tokens that nobody wanted any more. */
  lostTokens: number;
  /** The longest `retry-after`. */
  retryAfterS: number;
}

/** The server and the load. */
export interface OverloadOptions {
  readonly streams: readonly Stream[];
  readonly seconds: number;
  /** What happens in the first seconds does not count. */
  readonly warmUpSeconds?: number;
  readonly slotCount?: number;
  readonly admission?: AdmissionLimits;
  /** Whether the client knows the time of a request. */
  readonly knowsTime?: boolean;
  readonly seed?: number;
  /** How much slower the engine is at a moment. Default: 1. */
  readonly slowness?: (nowMs: number) => number;
}

/** Runs the load, and returns the outcome of each tenant. */
export async function overload(options: OverloadOptions): Promise<Map<string, Outcome>> {
  const time = new VirtualTime();
  const machine = time.machine(options.seed ?? 1);
  const engine = new FakeEngine({ slotCount: options.slotCount ?? 8, maxSeqLength: 128 });
  const { slowness = () => 1 } = options;
  engine.beforeRun = (batch) => {
    const ms =
      batch.kind === 'prefill'
        ? PROMPT_TOKEN_MS * batch.tokenIds.length
        : STEP_MS + ROW_MS * batch.rows.length;
    return new Promise((resolve) => machine.schedule(ms * slowness(machine.now()), resolve));
  };
  const loop = new StepLoop({ engine, adapters: new FakeLeases(), clock: machine });
  const client = createInProcessClient(loop, createLog('silent'), options.admission, machine);
  const outcomes = new Map<string, Outcome>();
  for (const stream of options.streams) offer(stream, { client, machine, outcomes, options });
  await time.runFor(options.seconds * 1000);
  return outcomes;
}

interface Offered {
  readonly client: EngineClient;
  readonly machine: Machine;
  readonly outcomes: Map<string, Outcome>;
  readonly options: OverloadOptions;
}

function offer(stream: Stream, offered: Offered): void {
  const { machine, outcomes } = offered;
  const outcome: Outcome = {
    ...{ offered: 0, answered: 0, refused: {}, endedWaiting: 0, cutOff: 0 },
    ...{ goodTokens: 0, lostTokens: 0, retryAfterS: 0 },
  };
  outcomes.set(stream.tenant, outcome);
  const next = () => {
    const gapMs = (-Math.log(1 - machine.random()) * 1000) / stream.perSecond;
    machine.schedule(gapMs, () => {
      send(stream, outcome, offered);
      next();
    });
  };
  next();
}

function send(stream: Stream, outcome: Outcome, { client, machine, options }: Offered): void {
  const {
    tenant: id,
    weight = 1,
    timeMs,
    tokens: [least, most],
    endsEarly,
  } = stream;
  const length = least + machine.draw(most - least + 1);
  const prompt = Array.from({ length: 8 }, () => machine.draw(50));
  const of: GenerationRequest = request(prompt, { maxTokens: endsEarly ? 100 : length });
  const startMs = machine.now();
  const time = timeMs === undefined ? undefined : { ms: timeMs, endsAtMs: startMs + timeMs };
  const isCounted = () => machine.now() >= (options.warmUpSeconds ?? 0) * 1000;
  let tokens = 0;
  let hasSlot = false;
  let isOver = false;
  let cancel = () => {};
  const end = (how: 'answered' | 'cutOff' | 'endedWaiting' | 'refused', code = '', retryS = 0) => {
    if (isOver) return;
    isOver = true;
    cancel();
    if (!isCounted()) return;
    if (how === 'refused') outcome.refused[code] = (outcome.refused[code] ?? 0) + 1;
    else outcome[how]++;
    outcome[how === 'answered' ? 'goodTokens' : 'lostTokens'] += tokens;
    outcome.retryAfterS = Math.max(outcome.retryAfterS, retryS);
  };
  if (isCounted()) outcome.offered++;
  const handle = client.submit(
    { id, weight },
    undefined,
    of,
    (event) => {
      if (event.type === 'admitted') hasSlot = true;
      if (event.type === 'token' && ++tokens === length && endsEarly) {
        end('answered');
        handle.abort(); // as at a stop string
      }
      if (!isTerminal(event)) return;
      if (event.type === 'finished') end('answered');
      else if (event.error.code === 'deadline_exceeded') end(hasSlot ? 'cutOff' : 'endedWaiting');
      else end('refused', event.error.code, event.error.retryAfterS);
    },
    options.knowsTime === false ? undefined : time,
  );
  if (timeMs === undefined) return;
  cancel = machine.schedule(timeMs, () => {
    end(hasSlot ? 'cutOff' : 'endedWaiting');
    handle.abort();
  });
}
