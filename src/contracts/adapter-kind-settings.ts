// The training settings that choose the kind of the adapter, a part of the table of training settings.
import { z } from 'zod';
import { MAX_COUNT } from '../common/max-count.ts';
import type { TrainingSetting } from './training-setting.ts';

/** The server reads an invocation of up to 1,024 tokens. */
const INVOCATION_LIMITS = { textLength: 4096, tokens: 1024 };

/** The kinds of adapters other than plain LoRA. */
export const ADAPTER_KIND_SETTINGS = {
  dora: {
    heading: 'Kind of adapter:',
    schema: z.boolean(),
    help: 'DoRA: also train the norm of each row of the adapted weights',
    fallback: 'false',
    api: { group: 'lorikeet', name: 'dora' },
    needs: 'adapter',
  },
  loraBias: {
    schema: z.boolean(),
    help: 'train a bias of B; not with dora',
    fallback: 'false',
    api: { group: 'lorikeet', name: 'lora_bias' },
    needs: 'adapter',
  },
  bias: {
    schema: z.enum(['none', 'all', 'lora_only']),
    help: "none, all or lora_only: which of the base's biases are also trained",
    fallback: 'none',
    api: { group: 'lorikeet', name: 'bias' },
    needs: 'adapter',
  },
  init: {
    schema: z.enum(['random', 'pissa']),
    help: 'random, or pissa: start from the largest singular vectors; the file then has twice the rank',
    fallback: 'random',
    api: { group: 'lorikeet', name: 'init' },
    needs: 'adapter',
  },
  alora: {
    schema: z.union(
      [
        z.string().min(1).max(INVOCATION_LIMITS.textLength),
        z.array(z.int().min(0).max(MAX_COUNT)).min(1).max(INVOCATION_LIMITS.tokens),
      ],
      `must be a text of up to ${INVOCATION_LIMITS.textLength} characters, or a list of up to ${INVOCATION_LIMITS.tokens} token ids`,
    ),
    flag: 'text',
    help: 'activated LoRA: the adapter is used, and trained, from the last occurrence of this text (or these token ids) on',
    api: { group: 'lorikeet', name: 'alora' },
    objectives: ['supervised', 'dpo'],
    needs: 'adapter',
  },
  trainHead: {
    schema: z.enum(['lora', 'full']),
    help: 'also train the head (lm_head): an update of it (lora), or all of it (full)',
    api: { group: 'lorikeet', name: 'train_head' },
    needs: 'adapter',
  },
  trainEmbeddings: {
    schema: z.enum(['lora', 'full']),
    help: 'also train the embedding (embed_tokens): an update of it (lora), or all of it (full)',
    api: { group: 'lorikeet', name: 'train_embeddings' },
    needs: 'adapter',
  },
  ensureWeightTying: {
    schema: z.boolean(),
    help: 'if the base ties embedding and head, trainEmbeddings changes both',
    fallback: 'false',
    api: { group: 'lorikeet', name: 'ensure_weight_tying' },
    needs: 'adapter',
  },
  modulesToSave: {
    schema: z.array(z.string().min(1).max(256)).min(1).max(64),
    help: 'norms that are trained whole, by the ends of their names: norm for all, model.norm for the last one',
    api: { group: 'lorikeet', name: 'modules_to_save' },
    needs: 'adapter',
  },
} as const satisfies Record<string, TrainingSetting>;
