// The names of the formats in which models call tools.

/** The first format is for models whose chat template shows no tools. */
export const TOOL_FORMAT_NAMES = ['hermes', 'llama3', 'mistral'] as const;

/** The name of a format. */
export type ToolFormatName = (typeof TOOL_FORMAT_NAMES)[number];
