// The plan of a simulated trainer, for trainers in processes of their own and in virtual time.

/** @type {import('../../src/contracts/training-messages.ts').JobPlan} */
export const SAMPLE_PLAN = {
  method: 'qlora',
  compute: 'float32',
  recommendedCompute: 'int8',
  examples: 10,
  validationExamples: 0,
  tokens: 100,
  trainedTokens: 40,
  maskedShare: 0.6,
  truncated: 0,
  maxLength: 64,
  duplicates: 0,
  trainedParameters: 1000,
  totalSteps: 4,
  stepsPerEpoch: 2,
  learningRate: 0.001,
  memoryBytes: 2 ** 20,
  secondsRange: [0.5, 2],
  seconds: 1,
  warnings: [],
  firstBatch: [{ text: 'a', spans: [{ start: 0, end: 1, isLearned: true }] }],
};
