// The pieces of a server that a planted bug can wrap, and the hooks by which all pieces report to the world.
import type { Registry } from '../../adapters/registry/registry.ts';
import type { AdapterRepository } from '../../adapters/repository/repository.ts';
import type { ObjectStore } from '../../adapters/store/store.ts';
import type { LocalAdapters } from '../../adapters/tiers/local-adapters.ts';
import type { AdmissionLimits } from '../../src/engine-client/admission.ts';
import type { JobRunner } from '../../src/jobs/runner.ts';
import type { AdapterLeases } from '../../src/scheduler/leases.ts';
import type { StepEngine } from '../../src/scheduler/options.ts';
import type { FromEngine, ToEngine } from '../../src/scheduler/protocol.ts';
import type { WatchedKeys } from '../../src/tenants/key-ring.ts';
import type { RateLimits } from '../../src/tenants/rate-limits.ts';
import type { Machine } from './clock.ts';

/** The pieces, each with its own interface. */
export interface Parts {
  engine: StepEngine;
  leases: AdapterLeases;
  /** Messages of the step loop to the server. */
  post: (message: FromEngine) => void;
  /** Messages of the server to the step loop. */
  handle: (message: ToEngine) => void;
  store: ObjectStore;
  repository: Pick<AdapterRepository, keyof AdapterRepository>;
  localAdapters: Pick<LocalAdapters, 'acquire' | 'stats' | 'close'>;
  registry: Pick<Registry, 'resolve'>;
  admission: AdmissionLimits;
  limits: Pick<RateLimits, 'begin' | 'headers'>;
  keys: Pick<WatchedKeys, 'find' | 'close'>;
  runner: JobRunner;
}

/** A planted bug: replaces pieces by broken ones. */
export type Bug = {
  readonly [Kind in keyof Parts]?: (part: Parts[Kind], machine: Machine) => Parts[Kind];
};

/** Returns the piece, or what the bug makes of it. */
export function withBug<Kind extends keyof Parts>(
  bug: Bug,
  kind: Kind,
  part: Parts[Kind],
  machine: Machine,
): Parts[Kind] {
  return bug[kind]?.(part, machine) ?? part;
}

/** The object with some members replaced. The other methods keep their own `this`. */
export function replaced<T extends object>(target: T, changes: Partial<T>): T {
  return new Proxy(target, {
    get(of, key) {
      if (Object.hasOwn(changes, key)) return changes[key as keyof T];
      const value = of[key as keyof T];
      return typeof value === 'function' ? value.bind(of) : value;
    },
  });
}

/** How pieces report. */
export interface Reporter {
  /** Adds a line to the trace. */
  trace(line: string): void;
  /** An invariant does not hold. */
  violated(invariant: string, message: string): void;
}
