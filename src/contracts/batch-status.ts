// The statuses and endpoints of batches, as in OpenAI's API.

export const BATCH_STATUSES = [
  'validating',
  'failed',
  'in_progress',
  'finalizing',
  'completed',
  'expired',
  'cancelling',
  'cancelled',
] as const;
/** The status of a batch. */
export type BatchStatus = (typeof BATCH_STATUSES)[number];

export const BATCH_ENDPOINTS = [
  '/v1/chat/completions',
  '/v1/completions',
  '/v1/embeddings',
  '/v1/responses',
] as const;
/** The route that answers the requests of a batch. */
export type BatchEndpoint = (typeof BATCH_ENDPOINTS)[number];
