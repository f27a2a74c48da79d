// The facts of a generation, with defaults for the fields that a test is not about.
import type { GenerationFacts } from '../../src/telemetry/telemetry.ts';

export function facts(changes: Partial<GenerationFacts> = {}): GenerationFacts {
  return {
    operation: 'chat',
    requestId: 'req_1',
    tenant: 'local',
    requestModel: 'toy',
    responseModel: 'toy',
    promptTokens: 7,
    responseId: 'chatcmpl-1',
    isStream: false,
    choiceCount: 1,
    sampling: {
      maxTokens: 5,
      temperature: 1,
      topP: 1,
      topK: 0,
      frequencyPenalty: 0,
      presencePenalty: 0,
    },
    ...changes,
  };
}
