// Runs the load generator's process and collects what it reports.
import { once } from 'node:events';
import { forkProgram, programUrl } from '../../src/common/fork-program.ts';
import { postJson } from '../api.ts';
import { goldenKey, type Outcome, type Plan, promptOf, type Source } from './traffic.ts';

const PROGRAM = programUrl('./generator-program', import.meta.url);

/** A generator at work. */
export interface Generator {
  /** Resolves when all requests have ended. Rejects if the process fails. */
  readonly ended: Promise<void>;
  /** No more requests begin. */
  stop(): void;
}

/** Starts a plan; resolves when its first requests are due. */
export async function startGenerator(
  plan: Plan,
  onOutcome: (outcome: Outcome) => void,
): Promise<Generator> {
  const child = forkProgram(PROGRAM, [], {});
  const exited = once(child, 'exit') as Promise<[number | null]>;
  const ended = exited.then(([code]) => {
    if (code !== 0) throw new Error(`the load generator ended with ${code}`);
  });
  ended.catch(() => {}); // told to those who wait
  child.send(plan);
  await Promise.race([once(child, 'message'), ended]);
  child.on('message', (outcomes) => (outcomes as Outcome[]).forEach(onOutcome));
  return { ended, stop: () => void (child.connected && child.send('stop')) };
}

/** Runs a plan to its end. */
export async function generate(plan: Plan): Promise<Outcome[]> {
  const outcomes: Outcome[] = [];
  const { ended } = await startGenerator(plan, (outcome) => outcomes.push(outcome));
  await ended;
  return outcomes;
}

/** Asks for each model and prompt of a source, one after the other: the texts that must come under load, too. */
export async function learnGolden(
  url: string,
  source: Omit<Source, 'name' | 'load'> & { readonly prompts: number },
): Promise<Record<string, string>> {
  const golden: Record<string, string> = {};
  const headers: Record<string, string> =
    source.key === undefined ? {} : { authorization: `Bearer ${source.key}` };
  for (const model of source.models) {
    for (let prompt = 0; prompt < source.prompts; prompt++) {
      const { text, tokens } = promptOf(source, prompt);
      const body = { model, prompt: text, max_tokens: tokens, temperature: 0, ignore_eos: true };
      const response = await postJson(`${url}/v1/completions`, body, { headers });
      if (!response.ok) throw new Error(`${model}: ${response.status} ${await response.text()}`);
      const { choices } = (await response.json()) as { choices: { text: string }[] };
      const digest = response.headers.get('x-lorikeet-adapter') ?? undefined;
      golden[goldenKey(digest, prompt)] = choices[0]!.text;
    }
  }
  return golden;
}
