// The story of a run, as fast-check draws it.
import fc from 'fast-check';
import { STORE_FAULTS, type StoreFault } from './store.ts';

/** The tenants, with the limits of one of them. */
export const TENANTS = ['a', 'b', 'c'] as const;

const pick = fc.nat({ max: 1000 });
const server = fc.nat({ max: 2 });
const tenant = fc.constantFrom('a', ...TENANTS);

/** A request. Prompts of one family begin with the same tokens. */
const submission = fc.record({
  server,
  tenant,
  key: fc.nat({ max: 1 }),
  model: fc.constantFrom(
    'base',
    'base',
    'base',
    'x',
    'x',
    'x',
    'y',
    's',
    's',
    'z',
    'x@1',
    'trained',
    'x:latest',
  ),
  family: fc.constantFrom(0, 1, 1, 1, 2),
  promptLength: fc.integer({ min: 1, max: 60 }),
  maxTokens: fc.integer({ min: 1, max: 24 }),
  stops: fc.boolean(),
});

const engineFault = fc.constantFrom(
  'crash',
  'kill',
  'hang',
  'wedge',
  'slow',
  'throw',
  'nan',
  'nan',
  'stop',
  'refuse',
);
const storeFault = fc.constantFrom(
  ...(Object.keys(STORE_FAULTS) as StoreFault[]),
  'stale' as const,
);
const jobAction = fc.constantFrom('cancel', 'pause', 'resume');

const command = fc.oneof(
  { weight: 14, arbitrary: submission.map((of) => ({ type: 'submit' as const, ...of })) },
  {
    weight: 6,
    arbitrary: fc
      .record({ of: submission, isMixed: fc.boolean(), count: fc.integer({ min: 3, max: 12 }) })
      .map((of) => ({ type: 'burst' as const, ...of })),
  },
  { weight: 3, arbitrary: pick.map((n) => ({ type: 'abort' as const, pick: n })) },
  {
    weight: 1,
    arbitrary: fc
      .record({ pick, pauseMs: fc.integer({ min: 10, max: 2_000 }) })
      .map((of) => ({ type: 'slowRead' as const, ...of })),
  },
  {
    weight: 5,
    arbitrary: fc
      .record({
        server,
        tenant,
        name: fc.constantFrom('x', 'x', 'y', 'z'),
        code: fc.integer({ min: 1, max: 12 }),
      })
      .map((of) => ({ type: 'publish' as const, ...of })),
  },
  {
    weight: 1,
    arbitrary: fc
      .record({ server, tenant, name: fc.constantFrom('x', 'y', 'z') })
      .map((of) => ({ type: 'delete' as const, ...of })),
  },
  {
    weight: 3,
    arbitrary: fc
      .record({ server, tenant, seed: fc.nat({ max: 50 }) })
      .map((of) => ({ type: 'createJob' as const, ...of })),
  },
  {
    weight: 1,
    arbitrary: fc
      .record({ server, pick, action: jobAction })
      .map((of) => ({ type: 'actOnJob' as const, ...of })),
  },
  {
    weight: 2,
    arbitrary: fc
      .record({ tenant, key: fc.nat({ max: 1 }), isRevoked: fc.boolean() })
      .map((of) => ({ type: 'revokeKey' as const, ...of })),
  },
  { weight: 3, arbitrary: server.map((of) => ({ type: 'evictPressure' as const, server: of })) },
  {
    weight: 3,
    arbitrary: fc
      .record({ server, fault: engineFault })
      .map((of) => ({ type: 'engineFault' as const, ...of })),
  },
  {
    weight: 4,
    arbitrary: fc
      .record({ fault: storeFault, count: fc.integer({ min: 1, max: 4 }) })
      .map((of) => ({ type: 'storeFault' as const, ...of })),
  },
  { weight: 2, arbitrary: server.map((of) => ({ type: 'trainerDies' as const, server: of })) },
  {
    weight: 2,
    arbitrary: fc
      .record({ server, hours: fc.constantFrom(-1, 1) })
      .map((of) => ({ type: 'clockJump' as const, ...of })),
  },
  {
    weight: 1,
    arbitrary: fc
      .record({ server, seconds: fc.constantFrom(3, 20, 60) })
      .map((of) => ({ type: 'freeze' as const, ...of })),
  },
  { weight: 1, arbitrary: server.map((of) => ({ type: 'serverDies' as const, server: of })) },
  { weight: 2, arbitrary: server.map((of) => ({ type: 'drain' as const, server: of })) },
  { weight: 1, arbitrary: fc.constant({ type: 'nextDay' as const }) },
  {
    weight: 16,
    arbitrary: fc
      .oneof(
        fc.integer({ min: 1, max: 60 }),
        fc.integer({ min: 1, max: 60 }),
        fc.integer({ min: 60, max: 3_000 }),
        fc.integer({ min: 3_000, max: 12_000 }),
      )
      .map((ms) => ({ type: 'tick' as const, ms })),
  },
);

/** A command to the world. */
export type Command = typeof command extends fc.Arbitrary<infer T> ? T : never;

/** A whole story. In `liveness`, faults stop at its end and everything has to be finished. */
export const stories = fc.record({
  seed: fc.noShrink(fc.nat()),
  mode: fc.constantFrom('safety' as const, 'liveness' as const),
  serverCount: fc.integer({ min: 1, max: 3 }),
  prefillChunk: fc.constantFrom(16, 24, 64),
  commands: fc.array(command, { minLength: 10, maxLength: 40, size: 'max' }),
});

/** A story. */
export type Story = typeof stories extends fc.Arbitrary<infer T> ? T : never;
