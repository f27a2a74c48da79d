// Runs scenarios one after the other and reports them: a table on standard output, and files in a folder.

import { mkdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { lazy } from '../../src/common/lazy.ts';
import { processorLine } from '../bench/processor.ts';
import { toMarkdown } from '../bench/report.ts';
import { scratchFolder } from '../scratch.ts';
import { measureCapacity, SLOTS } from './capacity.ts';
import type { Report, Scenario, Shared } from './scenario.ts';
import { startStage } from './stage.ts';

export interface BenchOptions {
  /** The base's folder. */
  readonly model: string;
  readonly weights: string;
  /** Of each measurement. */
  readonly seconds: number;
  /** Takes lines for somebody who waits. */
  tell(line: string): void;
}

/** Runs scenarios in one folder, with one shared server. */
export interface Bench {
  run(id: string, scenario: Scenario): Promise<Report>;
  close(): Promise<void>;
}

export function openBench(options: BenchOptions): Bench {
  const { seconds, tell } = options;
  const model = path.resolve(options.model);
  const ends: (() => unknown)[] = [];
  const after = (end: () => unknown) => void ends.push(end);
  const scratch = scratchFolder();
  const shared = lazy(async (): Promise<Shared> => {
    const home = path.join(scratch, 'shared');
    const args = [`--weights=${options.weights}`];
    const stage = await startStage({ after }, { model, home, slots: SLOTS, args });
    const { capacity } = await measureCapacity(stage, seconds);
    const { tokensPerS, tokensPerRequest } = capacity;
    tell(`capacity: ${tokensPerS.toFixed(0)} tokens/s, ${tokensPerRequest.toFixed(1)} per request`);
    return { stage, capacity };
  });
  return {
    run(id, scenario) {
      const folder = path.join(scratch, id);
      mkdirSync(folder);
      return scenario.run({ model, seconds, tell, scratch: folder, after, shared: shared.get });
    },
    async close() {
      for (const end of ends.reverse()) await end();
    },
  };
}

/** Runs scenarios in their order and reports them. The exit code of the process is 1 if a target is missed. */
export async function runLoad(
  scenarios: Readonly<Record<string, Scenario>>,
  { out, ...options }: Omit<BenchOptions, 'tell'> & { readonly out?: string | undefined },
): Promise<void> {
  const tell = (line: string) => void process.stderr.write(`${line}\n`);
  const bench = openBench({ ...options, tell });
  const reports: Record<string, Report> = {};
  const texts = [processorLine()];
  try {
    for (const [id, scenario] of Object.entries(scenarios)) {
      tell(`${id}: ${scenario.title}`);
      const report = await bench.run(id, scenario);
      const text = `## ${id}: ${scenario.title}\n\n${toMarkdown(report.figures)}`;
      tell(text); // a run may be cut off
      reports[id] = report;
      texts.push(text);
      if (report.figures.some(({ isMet }) => isMet === false)) process.exitCode = 1;
    }
  } finally {
    await bench.close();
  }
  const text = `${texts.join('\n\n')}\n`;
  process.stdout.write(text);
  if (out) writeReports(out, text, reports);
}

function writeReports(out: string, text: string, reports: Readonly<Record<string, Report>>): void {
  mkdirSync(out, { recursive: true });
  const write = (name: string, content: string) => writeFileSync(path.join(out, name), content);
  write('load.md', text);
  for (const [id, { figures, svg }] of Object.entries(reports)) {
    write(`${id}.json`, `${JSON.stringify(figures, null, 2)}\n`);
    if (svg) write(`${id}.svg`, svg);
  }
}
