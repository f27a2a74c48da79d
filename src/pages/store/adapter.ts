// A published adapter that a page shows and changes. It is polled, because its versions' traffic changes.
import { computed, signal } from '@preact/signals';
import type { Adapter } from '../../contracts/management-api.ts';
import { errorText, requestJson } from '../api.ts';
import { query } from './query.ts';
import { pointerTo, type Shares } from './release-plan.ts';

const POLL_MS = 2_000;

/** A request below the adapter's path. */
interface AdapterChange {
  readonly path: string;
  readonly method?: 'POST' | 'DELETE';
  readonly json?: object;
}

/** An adapter, and the ways to change it. */
export type AdapterStore = ReturnType<typeof createAdapter>;

/** The properties of a part that shows an adapter. */
export interface AdapterProps {
  readonly adapter: Adapter;
  readonly store: AdapterStore;
}

/** The path of an alias below its adapter's. */
export function aliasPath(alias: string): string {
  return `/aliases/${encodeURIComponent(alias)}`;
}

/** The request that moves an alias. Moving it to its present target changes nothing, so it may be sent twice. */
export function moveTo(alias: string, target: Shares): AdapterChange {
  return { path: aliasPath(alias), json: pointerTo(target) };
}

/**
 * Makes the store of an adapter. Without an owner it is the user's. `known`: its last known state.
 */
export function createAdapter(name: string, owner?: string, known?: Adapter) {
  const path = `v1/adapters/${encodeURIComponent(name)}`;
  const ofOwner = owner === undefined ? '' : `?${new URLSearchParams({ owner })}`;
  const { data, isMissing, problem, isRead, refresh, set, follow } = query<Adapter>(
    (last) => requestJson(`${path}${ofOwner}`, { isQuiet: last !== undefined }),
    { known },
  );
  const isChanging = signal(false);
  /** The problem of the last action. */
  const actProblem = signal('');

  function request({ path: below, method = 'POST', json }: AdapterChange): Promise<Adapter> {
    if (method === 'DELETE') return requestJson(`${path}${below}${ofOwner}`, { method });
    return requestJson(`${path}${below}`, { json: { ...(owner && { owner }), ...json } });
  }

  /** Shows the problem of an action until the next one. */
  function fail(error: unknown) {
    actProblem.value = errorText(error);
  }

  return {
    ...{ name, isMissing, isRead, isChanging, refresh, fail },
    /** Undefined until it was read, and after it was deleted. */
    adapter: data,
    /** Why it could not be read or changed; empty if it could. */
    problem: computed(() => actProblem.value || (isMissing.value ? '' : problem.value)),
    /** Sends one request and shows the new state. Throws `ApiError`. */
    async send(change: AdapterChange) {
      set(await request(change));
    },
    /** Sends the requests in order, then shows the new state. */
    async change(...changes: readonly AdapterChange[]) {
      actProblem.value = '';
      isChanging.value = true;
      try {
        for (const change of changes) await request(change);
      } catch (error) {
        fail(error);
      }
      await refresh();
      isChanging.value = false;
    },
    /** Begins to read it. Returns a function that ends this. */
    watch: () => follow(POLL_MS),
  };
}
