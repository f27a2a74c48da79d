// lorikeet size: the command line of it. Loads nothing of the engine, since every start reads this.
import type { Command } from 'commander';
import { DEFAULT_RANK } from '../contracts/training-settings.ts';
import type { SizeOptions } from './serving-size.ts';
import type { Terminal } from './terminal.ts';

export function addSize(program: Command, terminal: Terminal): void {
  program
    .command('size')
    .description('what serving takes of memory and disk, before anything runs')
    .option('--model <dir>', 'folder of an imported model [LORIKEET_MODEL]')
    .option('--config <file>', "a model's config.json, instead of one that is here")
    .option('--weights <mode>', 'int8, nf4 or f32 [LORIKEET_WEIGHTS]')
    .option('--slots <number>', 'sequences that run at once [LORIKEET_SLOTS]')
    .option('--max-seq <number>', 'tokens of the longest sequence [LORIKEET_MAX_SEQ]')
    .option('--rank <number>', 'of an adapter', String(DEFAULT_RANK))
    .option('--targets <names>', 'comma separated (default: all linears)')
    .option('--json', 'print the result as JSON, in bytes')
    .action(async (options: SizeOptions) => {
      const { printSize } = await import('./serving-size.ts');
      printSize(options, terminal);
    });
}
