// The adapters that a trainer serves, on one base. Adapters of one shape (rank and modules) take turns in one model in training;
// one that waits is parked in memory, and beyond a limit on disk. The place does not change its bytes.
import { rm } from 'node:fs/promises';
import path from 'node:path';
import { assert } from '../../src/common/assert.ts';
import { elementCount, fromFloat32, type Tensor, toFloat32 } from '../../src/common/tensor.ts';
import { memorySource, openSafetensors, writeSafetensors } from '../../src/formats/safetensors.ts';
import type { Artifact } from '../../src/import/artifact.ts';
import { adapterTensors } from '../adapter/tensors.ts';
import { lossHeadOf } from '../graph/loss-head-graph.ts';
import type { AdapterPlan } from '../job/adapter-plan.ts';
import { createTrainModel, type TrainModelOptions } from '../model.ts';
import { createMoments, type Moments } from '../optimizer.ts';
import { arraysOf, type SavedArray } from '../run/checkpoint.ts';
import { BaseWeights } from '../step/base-weights.ts';
import type { TrainModel } from '../types.ts';

/** How all models are trained, and where parked ones may be written. */
export interface HeldModelsOptions {
  readonly artifact: Artifact;
  readonly training: Omit<TrainModelOptions, 'adapter' | 'dropout' | 'compute' | 'seed' | 'base'>;
  /** A folder of this process's own. */
  readonly directory: string;
  /** The most bytes of parked adapters in memory. Default: 512 MB, a few adapters of a small base. */
  readonly parkedBytes?: number;
}

const PARKED_BYTES = 512 * 2 ** 20;
/** Each seat has buffers of its own for a batch's tensors, so few stay. */
const MAX_SEATS = 2;

/** The prefix of gradients' names. */
export const GRADIENTS = 'gradient.';

/** An adapter's arrays by name, in float32. A missing one is zero. */
type Arrays = ReadonlyMap<string, Float32Array>;

/** The moments of AdamW and the gradients by name, and the steps so far. */
export interface OptimizerState {
  readonly moments: Arrays;
  readonly steps: number;
}

const NEW: OptimizerState = { moments: new Map(), steps: 0 };

/** A model: an adapter and the state of its optimizer. */
interface Held {
  readonly id: string;
  /** Without initial weights, which are among the arrays. */
  readonly plan: AdapterPlan;
  readonly shape: string;
  /** Steps so far. */
  steps: number;
  /** Undefined while it is seated. */
  parked: { readonly arrays: Arrays } | { readonly file: string } | undefined;
}

/** A model in training, for adapters of one shape. */
interface Seat {
  readonly model: TrainModel;
  readonly moments: readonly Moments[];
  readonly arrays: readonly SavedArray[];
  holder: Held | undefined;
}

/** A model whose turn it is. It stays seated until another one takes its seat. */
export interface SeatedModel extends Pick<Seat, 'model' | 'moments' | 'arrays'> {
  readonly plan: AdapterPlan;
  /** The steps so far, which the caller counts. */
  readonly counter: { steps: number };
}

/** Holds the models of a trainer. */
export class HeldModels {
  readonly #options: HeldModelsOptions;
  readonly #held = new Map<string, Held>();
  /** By shape, the one that was used last at the end. */
  readonly #seats = new Map<string, Seat>();
  readonly #bases = new Map<string, BaseWeights>();

  constructor(options: HeldModelsOptions) {
    this.#options = options;
  }

  /** Adds a model. @param state its moments and steps. Absent: none yet */
  add(id: string, plan: AdapterPlan, state: OptimizerState = NEW): void {
    assert(!this.#held.has(id), `model ${id} exists`);
    const { init, ...lora } = plan.lora;
    const arrays = new Map(state.moments);
    for (const [name, tensor] of init) arrays.set(name, toFloat32(tensor));
    this.#held.set(id, {
      id,
      plan: { ...plan, lora: { ...lora, init: new Map() } },
      shape: JSON.stringify([[...lora.modules], [...(lora.whole ?? [])], lora.tiesWeights]),
      steps: state.steps,
      parked: { arrays },
    });
  }

  /** Seats a model. The result is valid until the next call. */
  async seat(id: string): Promise<SeatedModel> {
    const held = this.#held.get(id);
    assert(held, `no model ${id}`);
    const seat = await this.#seatOf(held);
    if (seat.holder !== held) {
      await this.#park(seat);
      await restore(held, seat.arrays);
      seat.holder = held;
      held.parked = undefined;
      this.#held.delete(id); // it comes after the others
      this.#held.set(id, held);
    }
    const { model, moments, arrays } = seat;
    return { model, moments, arrays, plan: held.plan, counter: held };
  }

  /** Forgets a model. */
  async drop(id: string): Promise<void> {
    const held = this.#held.get(id);
    this.#held.delete(id);
    if (held?.parked && 'file' in held.parked) await rm(held.parked.file, { force: true });
    for (const seat of this.#seats.values()) if (seat.holder === held) seat.holder = undefined;
  }

  async #seatOf({ shape, plan }: Held): Promise<Seat> {
    const known = this.#seats.get(shape);
    if (known) {
      this.#seats.delete(shape); // it comes after the others
      this.#seats.set(shape, known);
      return known;
    }
    const [oldest] = this.#seats;
    if (oldest && this.#seats.size >= MAX_SEATS) {
      await this.#park(oldest[1]);
      this.#seats.delete(oldest[0]);
      await oldest[1].model.release();
    }
    const seat = this.#createSeat(plan);
    this.#seats.set(shape, seat);
    return seat;
  }

  #createSeat({ lora }: AdapterPlan): Seat {
    const { artifact, training } = this.#options;
    const compute = 'float32';
    const init = zeros(artifact, lora);
    const head = lossHeadOf(artifact.config, compute, lora);
    let base = this.#bases.get(head.matrix);
    if (!base) {
      base = new BaseWeights(artifact, { ...training, compute, head });
      this.#bases.set(head.matrix, base);
    }
    const options = { ...training, base, compute, dropout: 0, seed: 0 } as const;
    const model = createTrainModel(artifact, { ...options, adapter: { ...lora, init } });
    const { parameters } = model;
    const moments = createMoments(parameters);
    const saved = parameters.map(({ name, shape, grad }) => ({
      name: `${GRADIENTS}${name}`,
      shape,
      data: grad,
    }));
    return { model, moments, arrays: arraysOf({ parameters, moments, saved }), holder: undefined };
  }

  /** Frees a seat. */
  async #park(seat: Seat): Promise<void> {
    const { holder, arrays } = seat;
    if (!holder) return;
    holder.parked = { arrays: new Map(arrays.map(({ name, data }) => [name, data.slice()])) };
    seat.holder = undefined;
    await this.#spill();
  }

  /** Moves parked models to the disk until the others fit into memory, the one first whose turn is longest ago. */
  async #spill(): Promise<void> {
    const { directory, parkedBytes = PARKED_BYTES } = this.#options;
    let total = 0;
    for (const held of [...this.#held.values()].reverse()) {
      if (!held.parked || !('arrays' in held.parked)) continue;
      for (const data of held.parked.arrays.values()) total += data.byteLength;
      if (total <= parkedBytes) continue;
      const file = path.join(directory, `${held.id}.safetensors`);
      await writeArrays(file, held.parked.arrays);
      held.parked = { file };
    }
  }
}

/** Fills a seat's arrays with those of a parked model. */
async function restore({ id, parked }: Held, arrays: readonly SavedArray[]): Promise<void> {
  assert(parked, `model ${id} is parked`);
  const values = 'file' in parked ? readArrays(parked.file) : parked.arrays;
  for (const { name, data } of arrays) {
    const value = values.get(name);
    if (value) data.set(value);
    else data.fill(0);
  }
  if ('file' in parked) await rm(parked.file);
}

/** Writes arrays to a file of safetensors. */
export async function writeArrays(
  file: string,
  arrays: Arrays,
  metadata: Readonly<Record<string, string>> = {},
): Promise<void> {
  const tensors = new Map(
    Array.from(arrays, ([name, data]) => [name, fromFloat32(data, [data.length], 'F32')]),
  );
  await writeSafetensors(file, memorySource(tensors), { metadata });
}

/** Reads the arrays of a file. */
export function readArrays(file: string): Map<string, Float32Array> {
  const source = openSafetensors(file);
  try {
    return new Map(Array.from(source.infos.keys(), (name) => [name, toFloat32(source.read(name))]));
  } finally {
    source.close();
  }
}

/** The initial weights of a model in training, before an adapter takes its seat. */
function zeros({ config }: Artifact, lora: AdapterPlan['lora']): Map<string, Tensor> {
  const rows = adapterTensors(config, lora).filter(({ neutral }) => neutral.kind === 'zeros');
  return new Map(
    rows.map(({ name, shape }) => [
      name,
      fromFloat32(new Float32Array(elementCount(shape)), shape, 'F32'),
    ]),
  );
}
