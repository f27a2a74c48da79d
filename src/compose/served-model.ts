// Describes the served base to the HTTP side: tokenizer, chat template, shape and sampling defaults.
import { ConfigError, FileError } from '../common/errors.ts';
import {
  GENERATION_CONFIG_FILE,
  type GenerationConfig,
  readGenerationConfig,
} from '../contracts/generation-config.ts';
import type { ToolFormatName } from '../contracts/tool-format.ts';
import type { MemoryPlan } from '../engine/memory/memory-budget.ts';
import type { AppOptions } from '../http/deps.ts';
import type { ServedModel } from '../http/request/request-model.ts';
import type { ArtifactDescription, ArtifactInfo } from '../import/artifact.ts';
import { catalogueGenerationConfig } from '../import/catalogue.ts';
import { loadTokenizer } from '../tokenizer/tokenizer.ts';
import { LongPrompts } from '../tools/long-prompts.ts';
import { createToolTemplate } from '../tools/tool-template.ts';

/** The tokenizer and the chat template of a base. Undefined if it has no tokenizer. */
export type BaseText = Pick<AppOptions, 'tokenizer' | 'chatTemplate' | 'longPrompts'>;

/**
 * Loads the tokenizer files from an artifact's folder.
 * @param toolFormat the setting --tool-format
 */
export async function loadBaseText(dir: string, toolFormat?: ToolFormatName): Promise<BaseText> {
  const tokenizer = await loadTokenizer(dir);
  return {
    tokenizer,
    chatTemplate: tokenizer && createToolTemplate(tokenizer, toolFormat),
    longPrompts: tokenizer && new LongPrompts({ directory: dir, toolFormat }),
  };
}

/**
 * Describes the base for the HTTP side.
 * @param generationConfig the setting --generation-config
 */
export async function describeServedModel(
  artifact: ArtifactDescription,
  { tokenizer }: BaseText,
  {
    maxSeqLength,
    generationConfig,
  }: Pick<MemoryPlan, 'maxSeqLength'> & { generationConfig: string },
): Promise<ServedModel> {
  const { info, config } = artifact;
  return {
    id: info.name,
    baseDigest: info.digest,
    maxSeqLength,
    vocabSize: config.vocabSize,
    hiddenSize: config.hiddenSize,
    eosTokenIds: tokenizer?.eosTokenIds ?? config.eosTokenIds,
    generationConfig: await baseGenerationConfig(generationConfig, artifact),
  };
}

/**
 * Returns the base's sampling defaults, with vLLM's semantics: `auto` merges the catalogue's defaults with the base's own file,
 * which wins; `vllm` uses neither; anything else is a folder with such a file. The defaults are read at every start and are not
 * part of the base's digest.
 * @throws ConfigError if the folder has no such file, or a field is out of bounds
 */
export async function baseGenerationConfig(
  setting: string,
  { dir, info }: { readonly dir: string; readonly info: Pick<ArtifactInfo, 'source'> },
): Promise<GenerationConfig> {
  if (setting === 'vllm') return {};
  try {
    if (setting === 'auto') {
      return { ...catalogueGenerationConfig(info.source), ...(await readGenerationConfig(dir)) };
    }
    const config = await readGenerationConfig(setting);
    if (config) return config;
  } catch (error) {
    if (!(error instanceof FileError)) throw error;
    throw new ConfigError(`--generation-config: ${error.message}`);
  }
  const fault = `${setting} has no ${GENERATION_CONFIG_FILE}. Use auto, vllm or a folder that has one.`;
  throw new ConfigError(`--generation-config: ${fault}`);
}
