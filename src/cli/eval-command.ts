// lorikeet eval: flags to a request for the trainer, which measures.
import type { Command } from 'commander';
import { UsageError } from '../common/errors.ts';
import { LOCAL_TENANT } from '../contracts/tenant.ts';
import type { EvalRequest } from '../contracts/training.ts';
import { helpOf } from '../contracts/training-fields.ts';
import { GATE_SETTINGS } from '../contracts/training-settings.ts';

interface EvalFlags {
  readonly model?: string;
  readonly data?: string;
  readonly margin?: string;
  readonly maxForgetting?: string;
  readonly store?: string;
  readonly tenant: string;
  readonly json?: true;
}

export function addEval(program: Command, run: (request: EvalRequest) => Promise<void>): void {
  program
    .command('eval')
    .description('what an adapter changes, gains and forgets, and whether it passes the gates')
    .argument('<adapter>', 'a PEFT folder, or a published NAME, NAME@VERSION or NAME:ALIAS')
    .option('--data <file>', 'JSONL rows that it has not learned from; the base is measured too')
    .option('--model <model>', 'folder or name of the imported base [LORIKEET_MODEL]')
    .option('--margin <nats>', helpOf(GATE_SETTINGS.margin))
    .option('--max-forgetting <nats>', helpOf(GATE_SETTINGS.maxForgetting))
    .option('--tenant <id>', 'whose adapter', LOCAL_TENANT.id)
    .option('--store <place>', 'a folder or s3://bucket/prefix [LORIKEET_STORE]')
    .option('--json', 'print the card as JSON')
    .addHelpText('after', EVAL_EXAMPLES)
    .action((adapter: string, flags: EvalFlags) => run(toRequest(adapter, flags)));
}

function toRequest(adapter: string, flags: EvalFlags): EvalRequest {
  const { model, data, tenant, store, margin, maxForgetting } = flags;
  return {
    ...{ adapter, model, data, tenant, store },
    gate: {
      margin: parseNats('--margin', margin),
      maxForgetting: parseNats('--max-forgetting', maxForgetting),
    },
    isJson: flags.json === true,
  };
}

function parseNats(flag: string, text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  if (/^-?(?:\d{1,3}(?:\.\d{1,6})?|\.\d{1,6})$/.test(text)) return Number(text);
  throw new UsageError(`${flag}: must be a number of nats, such as 0.1`);
}

const EVAL_EXAMPLES = `
Exit code: 0 where it passes every gate that could be measured, 1 where one refuses.

Examples:
  lorikeet eval zen --data held-out.jsonl
  lorikeet eval ./run/adapter --model smollm2-135m-instruct --data held-out.jsonl --json
  lorikeet eval zen@3 --data held-out.jsonl --margin 0.1
`;
