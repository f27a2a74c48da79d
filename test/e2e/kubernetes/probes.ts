// Startup, readiness and liveness probes of a container, as a kubelet runs them. A container without one passes it.
import { setTimeout as delay } from 'node:timers/promises';
import type { Container, Probe } from './pod-process.ts';

export interface ProbeEvents {
  readonly host: string;
  readonly isOver: () => boolean;
  readonly isTerminating: () => boolean;
  onStarted(): Promise<void>;
  onReady(isReady: boolean): Promise<void>;
  onDead(): void;
}

/** Resolves when the container is over. Readiness is watched while it terminates, too. */
export async function watchProbes(container: Container, events: ProbeEvents): Promise<void> {
  const { startupProbe, readinessProbe, livenessProbe } = container;
  const { isOver, isTerminating } = events;
  const isLeaving = () => isOver() || isTerminating();
  const passes = (probe: Probe) => check(probe, container, events.host);
  if (startupProbe) {
    const fails = await repeat(startupProbe, () => passes(startupProbe), isLeaving, true);
    if (fails) return events.onDead();
  }
  if (isOver()) return;
  await events.onStarted();
  if (!readinessProbe) await events.onReady(true);
  await Promise.all([
    readinessProbe && watchReadiness(readinessProbe, () => passes(readinessProbe), events),
    livenessProbe &&
      repeat(livenessProbe, () => passes(livenessProbe), isLeaving, false).then((fails) => {
        if (fails) events.onDead();
      }),
  ]);
}

async function watchReadiness(
  probe: Probe,
  passes: () => Promise<boolean>,
  { isOver, onReady }: ProbeEvents,
): Promise<void> {
  let isReady = false;
  let failures = 0;
  while (!isOver()) {
    failures = (await passes()) ? 0 : failures + 1;
    const becomes: boolean = failures === 0 || (isReady && failures < thresholdOf(probe));
    if (becomes !== isReady && !isOver()) await onReady(becomes);
    isReady = becomes;
    await delay(periodMs(probe));
  }
}

/** Resolves with true after too many failures in a row, with false when it is over, or passes and needs to do so once. */
async function repeat(
  probe: Probe,
  passes: () => Promise<boolean>,
  isOver: () => boolean,
  once: boolean,
): Promise<boolean> {
  for (let failures = 0; failures < thresholdOf(probe); ) {
    if (isOver()) return false;
    const isGood = await passes();
    if (isOver() || (isGood && once)) return false;
    failures = isGood ? 0 : failures + 1;
    await delay(periodMs(probe));
  }
  return true;
}

async function check(
  { httpGet, timeoutSeconds = 1 }: Probe,
  { ports = [] }: Container,
  host: string,
) {
  const { path, port } = httpGet;
  const number = ports.find(({ name }) => name === port)?.containerPort ?? port;
  try {
    const signal = AbortSignal.timeout(timeoutSeconds * 1_000);
    const response = await fetch(`http://${host}:${number}${path}`, {
      headers: { connection: 'close' },
      signal,
    });
    await response.arrayBuffer();
    return response.status >= 200 && response.status < 400;
  } catch {
    return false;
  }
}

const thresholdOf = ({ failureThreshold = 3 }: Probe) => failureThreshold;
const periodMs = ({ periodSeconds = 10 }: Probe) => periodSeconds * 1_000;
