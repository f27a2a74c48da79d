// The story of a run, as fast-check draws it.
import fc from 'fast-check';
import { STORE_FAULTS, type StoreFault } from './store.ts';

/** The tenants, with the limits of one of them. */
export const TENANTS = ['a', 'b', 'c'] as const;

const pick = fc.nat({ max: 1000 });
const server = fc.nat({ max: 2 });
/** Not a record, which would draw a number more and give every seed another story. */
const onServer = server.map((of) => ({ server: of }));
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

/** A command of a type, with the weight by which it is drawn. */
const drawn = <const Type extends string, Fields extends object>(
  type: Type,
  weight: number,
  fields: fc.Arbitrary<Fields>,
) => ({ weight, arbitrary: fields.map((of) => ({ type, ...of })) });

const command = fc.oneof(
  drawn('submit', 14, submission),
  drawn(
    'burst',
    6,
    fc.record({ of: submission, isMixed: fc.boolean(), count: fc.integer({ min: 3, max: 12 }) }),
  ),
  drawn(
    'abort',
    3,
    pick.map((n) => ({ pick: n })),
  ),
  drawn('slowRead', 1, fc.record({ pick, pauseMs: fc.integer({ min: 10, max: 2_000 }) })),
  drawn(
    'publish',
    5,
    fc.record({
      server,
      tenant,
      name: fc.constantFrom('x', 'x', 'y', 'z'),
      code: fc.integer({ min: 1, max: 12 }),
    }),
  ),
  drawn('delete', 1, fc.record({ server, tenant, name: fc.constantFrom('x', 'y', 'z') })),
  drawn('createJob', 3, fc.record({ server, tenant, seed: fc.nat({ max: 50 }) })),
  drawn('actOnJob', 1, fc.record({ server, pick, action: jobAction })),
  drawn('revokeKey', 2, fc.record({ tenant, key: fc.nat({ max: 1 }), isRevoked: fc.boolean() })),
  drawn('evictPressure', 3, onServer),
  drawn('engineFault', 3, fc.record({ server, fault: engineFault })),
  drawn('storeFault', 4, fc.record({ fault: storeFault, count: fc.integer({ min: 1, max: 4 }) })),
  drawn('trainerDies', 2, onServer),
  drawn('clockJump', 2, fc.record({ server, hours: fc.constantFrom(-1, 1) })),
  drawn('freeze', 1, fc.record({ server, seconds: fc.constantFrom(3, 20, 60) })),
  drawn('serverDies', 1, onServer),
  drawn('drain', 2, onServer),
  drawn('nextDay', 1, fc.constant({})),
  drawn(
    'tick',
    16,
    fc
      .oneof(
        fc.integer({ min: 1, max: 60 }),
        fc.integer({ min: 1, max: 60 }),
        fc.integer({ min: 60, max: 3_000 }),
        fc.integer({ min: 3_000, max: 12_000 }),
      )
      .map((ms) => ({ ms })),
  ),
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
