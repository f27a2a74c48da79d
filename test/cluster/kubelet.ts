// Starts pods for the fake cluster: in this process, which is quick, or as the process that the manifest asks for,
// which can be killed.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import path from 'node:path';
import type { TestContext } from 'node:test';
import type { GuardedStore } from '../../adapters/store/guarded-store.ts';
import { Attempt } from '../../src/cluster/attempt.ts';
import { POD_EXIT, runPod } from '../../src/cluster/run-pod.ts';
import { createChildRunner } from '../../src/jobs/child-runner.ts';
import type { JobRunner } from '../../src/jobs/runner.ts';
import { temporaryFolder } from '../fixtures.ts';
import type { Kubelet } from './fake-cluster.ts';

export const BASE_DIGEST = 'base-digest';
const FAKE = new URL('../jobs/fake-trainer.mjs', import.meta.url);
const log = { info() {}, warn() {}, error() {} };

export interface PodPlace {
  readonly store: GuardedStore;
  /** Of the base that pods find. */
  readonly digest?: string;
  /** The trainers' program. */
  readonly entry?: URL;
}

/** Pods that run beside the test, their trainers as child processes of it. */
export function nearKubelet(
  t: Pick<TestContext, 'after'>,
  { store, digest = BASE_DIGEST, entry = FAKE }: PodPlace,
): Kubelet {
  const child = createChildRunner({ log, entry });
  const run: JobRunner['run'] = (request, stop) => {
    const end = new AbortController();
    t.after(() => end.abort()); // the attempt's record is gone with the test's folder
    return child.run(request, { ...stop, cancel: AbortSignal.any([stop.cancel, end.signal]) });
  };
  return (pod) => {
    const [command, prefix] = pod.spec.containers[0]!.args;
    if (command !== 'train-job' || !prefix) throw new Error('no attempt is named');
    const stop = new AbortController();
    const work = runPod({
      attempt: new Attempt(store, prefix),
      dir: path.join(temporaryFolder(t), 'pod'),
      findBase: async () => ({ dir: '/there/model', digest }),
      runner: { run },
      signal: stop.signal,
      log,
      flushMs: 5,
      recordMs: 20,
    });
    const ended = work.then(
      (code) => ({ code }),
      () => ({ code: POD_EXIT.failed }),
    );
    return { ended, terminate: () => stop.abort() };
  };
}

export interface ProcessPod {
  kill(signal: NodeJS.Signals): void;
}

/** Pods that are processes of their own; `onStart` gets each. */
export function processKubelet(onStart: (pod: ProcessPod) => void = () => {}): Kubelet {
  return (pod) => {
    const { command, args, env = [] } = pod.spec.containers[0]!;
    const own = Object.fromEntries(env.map(({ name, value }) => [name, value]));
    const child = spawn(command[0]!, [...command.slice(1), ...args], {
      env: { PATH: process.env['PATH'], ...own },
      stdio: ['ignore', 'inherit', 'inherit'],
    });
    onStart(child);
    const ended = once(child, 'exit').then(([code, signal]) =>
      signal === 'SIGKILL' ? { code: 137, reason: 'OOMKilled' } : { code: code as number },
    );
    return { ended, terminate: () => void child.kill('SIGTERM') };
  };
}
