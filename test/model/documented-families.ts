// Writes the tables of the catalogue, of model families and of rotary embeddings as Markdown for docs/bases.md.
import { formatBytes } from '../../src/common/format-bytes.ts';
import { baseBytes } from '../../src/engine/memory/memory-budget.ts';
import {
  CATALOGUE_NAMES,
  configOfShape,
  downloadBytes,
  findInCatalogue,
} from '../../src/import/catalogue.ts';
import { FAMILIES, type Family } from '../../src/model/families.ts';
import { ROPE_KINDS } from '../../src/model/rope.ts';

/** Returns the tables by the names of their marks in the page. */
export function baseTables(): Readonly<
  Record<'catalogue' | 'families' | 'rotary embeddings', string>
> {
  return {
    catalogue: table(
      ['name', 'from', 'license', 'context', 'download', 'int8', 'int4', 'nf4'],
      CATALOGUE_NAMES.map((name) => {
        const entry = findInCatalogue(name)!;
        const config = configOfShape(entry);
        const sizes = (['int8', 'int4', 'nf4'] as const).map((form) => baseBytes(config, form));
        return [
          `\`${name}\``,
          entry.kind === 'hub' ? entry.id : entry.wheel.requirement,
          entry.license,
          config.maxPositions.toLocaleString('en-US'),
          ...[downloadBytes(entry), ...sizes].map(formatBytes),
        ];
      }),
    ),
    families: table(
      ['`model_type`', 'models', 'what sets it apart'],
      Object.entries(FAMILIES).map(([name, family]) => {
        return [`\`${name}\``, family.models, traitsOf(family).join('; ')];
      }),
    ),
    'rotary embeddings': table(
      ['`rope_type`', 'frequencies'],
      Object.entries(ROPE_KINDS).map(([name, { about }]) => [`\`${name}\``, about]),
    ),
  };
}

function traitsOf(family: Family): string[] {
  const { norms, qkNorm, window } = family;
  const traits: [isTrue: boolean, text: string][] = [
    [family.linears === 'stacked', 'stacked linears `qkv_proj` and `gate_up_proj`'],
    [family.qkvBias, 'biases on q, k and v'],
    [qkNorm !== 'none', `q and k normalized ${qkNorm === 'per head' ? qkNorm : 'over all heads'}`],
    [
      norms.mlp.after !== undefined,
      `norms ${norms.mlp.before ? 'before and ' : ''}after sub-layers`,
    ],
    [family.normAddsOne, 'norms scale by 1 + weight'],
    [family.activation !== 'silu', `\`${family.activation}\``],
    [family.embeddingScale !== undefined, 'scaled embeddings'],
    [family.attentionScale !== undefined, 'own attention scale'],
    [family.residualScale !== undefined, 'scaled sub-layers and logits'],
    [family.attentionSoftcap !== undefined, 'soft caps on attention and logits, if configured'],
    [family.rotates !== undefined, 'layers without rotary embedding'],
    [window !== undefined, windowOf(family)],
    [family.slidingRope !== undefined, 'a separate rotary embedding in the layers with a window'],
  ];
  return traits.filter(([isTrue]) => isTrue).map(([, text]) => text);
}

function windowOf({ window, slides }: Family): string {
  const condition = window === 'always' ? 'if configured' : 'if `use_sliding_window` is true';
  return `sliding window${slides ? ' in some layers' : ''}, ${condition}`;
}

function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]) => `| ${cells.join(' | ')} |\n`;
  return [line(head), `|${'---|'.repeat(head.length)}\n`, ...rows.map(line)].join('');
}
