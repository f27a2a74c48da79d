// What a client of training loops sends, and waits for.
import assert from 'node:assert/strict';
import { create, toBinary } from '@bufbuild/protobuf';
import { asBytes } from '../../src/common/tensor.ts';
import type { JournaledRequest } from '../../src/tinker/journal-entries.ts';
import { DType, ForwardBackwardRequestSchema } from '../../src/tinker/proto/tinker_pb.js';
import type { TinkerService } from '../../src/tinker/tinker-service.ts';
import { ADAPTER, type Server, TENANT } from './machine.ts';

const NEW = { baseModel: 'tiny', adapter: ADAPTER, metadata: null };

const ADAM = { betas: [0.9, 0.95], epsilon: 1e-8, weightDecay: 0, maxGradNorm: 0 } as const;
export const STEP: JournaledRequest = { kind: 'step', adam: { learningRate: 0.01, ...ADAM } };
export const SAVE: JournaledRequest = {
  ...{ kind: 'save', folder: 'weights', name: 'a', ttlS: null, overwrite: false, metadata: null },
};

/** Begins a session with a model. */
export async function begin({ service }: Pick<Server, 'service'>, tenant = TENANT) {
  const { id: sessionId } = await service.sessions.begin(tenant, null);
  const created = await service.createModel({ tenant, sessionId, number: 0 }, NEW);
  await done(service, Promise.resolve(created), tenant);
  return { sessionId, modelId: `${sessionId}:train:0` };
}

/** Waits for a request's result, and returns it or throws its error. */
export async function done(
  service: TinkerService,
  request: Promise<string>,
  tenant = TENANT,
): Promise<unknown> {
  const outcome = await service.wait(tenant, await request);
  if (outcome.kind === 'failed') throw outcome.error;
  assert.ok(outcome.kind === 'done');
  return outcome.value;
}

/** A pass over one sequence. */
export function pass(...tokens: number[]) {
  return passOver([tokens]);
}

/** A pass over several sequences, each of which predicts itself. */
export function passOver(sequences: readonly (readonly number[])[]) {
  const data = sequences.map((tokens) => {
    const ids = asBytes(BigInt64Array.from(tokens, BigInt));
    const ones = asBytes(new Float32Array(tokens.length).fill(1));
    const text = { tokens: asBytes(Int32Array.from(tokens)) };
    return {
      modelInput: [{ chunk: { case: 'encodedText' as const, value: text } }],
      lossFnInputs: {
        target_tokens: { layout: { case: 'dense' as const, value: ids }, dtype: DType.DTYPE_INT64 },
        weights: { layout: { case: 'dense' as const, value: ones }, dtype: DType.DTYPE_FLOAT32 },
      },
    };
  });
  const message = create(ForwardBackwardRequestSchema, { lossFn: 'cross_entropy', data });
  return { kind: 'pass', bytes: toBinary(ForwardBackwardRequestSchema, message) } as const;
}

/** Sends requests, the first of which has this number, and returns the result of the last one. */
export async function send(
  { service }: Pick<Server, 'service'>,
  { modelId }: { readonly modelId: string },
  { from, requests }: { readonly from: number; readonly requests: readonly JournaledRequest[] },
): Promise<unknown> {
  let last: unknown;
  for (const [i, request] of requests.entries()) {
    last = await done(service, service.submit({ tenant: TENANT, modelId, seq: from + i }, request));
  }
  return last;
}
