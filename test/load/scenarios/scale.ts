// L11: ten thousand keys of a thousand tenants, and ten thousand adapters that nobody asks for.
import { copyFileSync, linkSync, mkdirSync } from 'node:fs';
import path from 'node:path';
import { createKeyDigest } from '../../../src/tenants/api-key.ts';
import { KeyRing } from '../../../src/tenants/key-ring.ts';
import { atMost, toFigure } from '../../bench/report.ts';
import { keysFileOf, type MadeKey, makeKey } from '../../tenants/keys.ts';
import { quantileOf } from '../results.ts';
import type { Context, Report } from '../scenario.ts';
import { ADAPTER_NAMES, heldBy, type Stage, startStage } from '../stage.ts';

const KEYS = 10_000;
const TENANTS = 1000;
/** With the four of every stage, as many as a server lists. */
const IDLE_ADAPTERS = 9996;
const TRIES = 2000;

export async function runScale(context: Context): Promise<Report> {
  const few = await startLoaded(context, 'few', [makeKey('tenant-0')]);
  const keys = Array.from({ length: KEYS }, (_, i) => makeKey(`tenant-${i % TENANTS}`));
  const many = await startLoaded(context, 'many', keys, IDLE_ADAPTERS);
  const ring = new KeyRing(keysFileOf(keys), createKeyDigest(undefined));
  const findMs = Array.from({ length: TRIES }, (_, i) => {
    const text = keys[(i * 7919) % KEYS]!.text;
    const startedMs = performance.now();
    ring.find(i % 2 ? text : `${text.slice(0, -4)}AAAA`); // every second one is wrong
    return performance.now() - startedMs;
  });
  return {
    figures: [
      toFigure(`authentication among ${KEYS} keys, p99`, 'ms', quantileOf(findMs, 0.99), {
        target: atMost(1),
      }),
      toFigure(
        'an authenticated request without work, p99; with one key',
        'ms',
        await requestP99Ms(many),
        { other: await requestP99Ms(few) },
      ),
      toFigure(
        `memory of ${KEYS} keys, ${TENANTS} tenants, ${IDLE_ADAPTERS} adapters`,
        'MiB',
        many.heldMib - few.heldMib,
        { target: atMost(50) },
      ),
      toFigure('start, longer by', 'ms', many.readyMs - few.readyMs, { target: atMost(2000) }),
    ],
  };
}

interface Started {
  readonly stage: Stage;
  readonly readyMs: number;
  readonly heldMib: number;
  readonly key: string;
}

async function startLoaded(
  context: Context,
  name: string,
  keys: readonly MadeKey[],
  idleAdapters = 0,
): Promise<Started> {
  const home = path.join(context.scratch, name);
  const options = { model: context.model, home, slots: 4, keys };
  // The first startLoaded builds the serving files, and the adapters that the others are copies of.
  await (await startStage(context, options)).serving.stop();
  copyAdapters(path.join(home, 'served'), idleAdapters);
  const startedMs = performance.now();
  const stage = await startStage(context, options);
  const readyMs = performance.now() - startedMs;
  const [{ text: key }] = keys as [MadeKey];
  const headers = { authorization: `Bearer ${key}` };
  await (await fetch(`${stage.url}/v1/models`, { headers })).arrayBuffer();
  return { stage, readyMs, heldMib: heldBy(stage.serving.child.pid!).anonymousMib, key };
}

/** Folders of their own; the weights are one file with many names. */
function copyAdapters(root: string, count: number): void {
  const [source] = ADAPTER_NAMES;
  const [config, weights] = ['adapter_config.json', 'adapter_model.safetensors'];
  for (let i = 0; i < count; i++) {
    const folder = path.join(root, `idle-${i}`);
    mkdirSync(folder);
    copyFileSync(path.join(root, source!, config!), path.join(folder, config!));
    linkSync(path.join(root, source!, weights!), path.join(folder, weights!));
  }
}

async function requestP99Ms({ stage, key }: Started): Promise<number> {
  const headers = { authorization: `Bearer ${key}` };
  const timesMs: number[] = [];
  for (let i = 0; i < TRIES; i++) {
    const startedMs = performance.now();
    const response = await fetch(`${stage.url}/v1/me`, { headers });
    await response.arrayBuffer();
    if (response.status !== 200) throw new Error(`/v1/me: ${response.status}`);
    timesMs.push(performance.now() - startedMs);
  }
  return quantileOf(timesMs, 0.99);
}
