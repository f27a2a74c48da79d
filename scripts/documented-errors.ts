// The cause and the remedy of every error code, as the Markdown table of docs/errors.md. A code without a row does not compile.
import { type ErrorCode, ServeError } from '../src/common/errors.ts';

/** Code → cause, and what to do. */
const ERRORS: Readonly<Record<ErrorCode, readonly [cause: string, remedy: string]>> = {
  invalid_request: [
    'A field has a wrong value, or fields contradict each other',
    'Correct the field that `error.param` names',
  ],
  invalid_json: [
    'The body is not one JSON value, is nested too deeply, or has the same member twice',
    'Send one JSON object',
  ],
  invalid_utf8: [
    'The body is not UTF-8, or an escape is half of a surrogate pair',
    'Encode the text as UTF-8; do not cut it inside a character',
  ],
  context_length_exceeded: [
    'The prompt and `max_tokens` exceed the context',
    'Shorten the prompt, lower `max_tokens`, or set `truncate_prompt_tokens`; operators can raise `--max-seq`',
  ],
  unsupported_parameter: [
    "The field, value or route exists in OpenAI's API or vLLM, but not here",
    'Leave it out; [request fields](request-fields.md) shows what is supported',
  ],
  unknown_parameter: [
    'A field or query parameter that this route does not have, often a typing error',
    'Correct or remove the field that `error.param` names',
  ],
  previous_response_not_found: [
    "The response was never kept, has expired, was deleted, or is another tenant's",
    'Send the earlier items in `input`, or [keep responses](responses.md#kept-responses) longer',
  ],
  invalid_training_file: [
    'Rows of the training or validation file are invalid; the message lists the first ten',
    'Correct the lines ([forms of rows](training.md#rows)) and upload the file again',
  ],
  invalid_n_examples: ['A training file has fewer than ten rows', 'Add rows'],
  invalid_api_key: [
    'No key, an unknown or revoked key, or a key from another keys file or pepper',
    'Send `Authorization: Bearer KEY` or `x-api-key: KEY`; operators see the keys with `lorikeet keys list`',
  ],
  forbidden: [
    'The route, or a change of a shared adapter, needs an admin key, or the key may only read',
    'Use a key from `lorikeet keys create --admin`, or one without `--read-only`',
  ],
  origin_not_allowed: [
    'A web page on another origin sent a request that changes something to a server without keys',
    'List the origin in `--allowed-origins` ([browsers](browsers.md))',
  ],
  not_found: [
    "Unknown route, file, job, response, adapter or alias, or it is another tenant's",
    'Check the path and the id; lists show your own',
  ],
  model_not_found: [
    "The model name is unknown, malformed, another tenant's, or not allowed for this tenant",
    '`GET /v1/models` lists the names; [model names](models.md) explains their forms',
  ],
  method_not_allowed: ['The route has other methods', 'Use one that the header `allow` lists'],
  expired: [
    "A session of Tinker's protocol has ended, a result was dropped, or a request's number was used",
    'Send the request again, or continue from a saved path ([Tinker](tinker.md))',
  ],
  request_timeout: [
    'The request line, headers or body arrived too slowly',
    'Send the request without pauses; check the network',
  ],
  precondition_failed: [
    'Someone else has changed what the request changes since the revision that it names',
    'Read it again, and repeat the change',
  ],
  payload_too_large: [
    'The body or the uploaded file is larger than its limit, which the message states',
    'Send less; operators can raise `LORIKEET_MAX_FILE` for uploads, or the size of files that the system allows',
  ],
  unsupported_media_type: [
    'The content type is not JSON (for uploads: not a multipart form), or the body is compressed',
    'Send `content-type: application/json`, uncompressed',
  ],
  expectation_failed: [
    'The header `expect` asks for something other than `100-continue`',
    'Remove the header',
  ],
  header_too_large: ['The headers are too large', 'Send fewer or shorter headers and cookies'],
  adapter_invalid: [
    'The adapter cannot be served exactly: a kind, shape, rank or file that is not supported',
    'Correct what the message names; `lorikeet adapters ls` shows skipped folders ([kinds](adapters.md#kinds-of-adapters))',
  ],
  adapter_non_finite: [
    'A weight or a computed value of the adapter is not finite, or a weight exceeds 1000',
    'Roll the alias back, and train again with a lower learning rate',
  ],
  adapter_signature_invalid: [
    'The version is not signed with the key of `--adapter-public-key`, or its manifest was changed',
    'Publish it again with `--adapter-signing-key`',
  ],
  base_mismatch: [
    'The adapter was made for another base than the one served',
    'Serve its base, or train it again on this one',
  ],
  idempotency_key_reused: [
    'The `Idempotency-Key` was used in the last 24 hours with a different body',
    'Use a new key for a new request',
  ],
  rate_limit_exceeded: [
    'A limit of the tenant is reached, or too many of its own requests wait',
    'Wait for `retry-after` seconds; [limits](tenants.md#limits) explains the headers',
  ],
  internal_error: [
    'A bug, or the base produced a value that is not finite',
    'Report it with `x-request-id`; the log has the details',
  ],
  object_damaged: [
    'A file, kept response or job in the store is not what a server wrote; lists leave it out',
    'Restore the object from a backup, or delete the file or response',
  ],
  unsupported_transfer_encoding: [
    'The body has a transfer coding other than `chunked`',
    'Send the body with `content-length` or as `chunked`',
  ],
  overloaded: [
    'The queue or all connections are full, the deadline cannot be met, or the server is stopping',
    'Wait for `retry-after` seconds, or use another server; operators see [troubleshooting](troubleshooting.md)',
  ],
  adapter_unavailable: [
    'The store does not answer, lacks a file of the version, or the load took too long',
    'Try again; operators see [if the store fails](adapters.md#if-the-store-fails)',
  ],
  store_unavailable: [
    'The store of files, jobs and responses does not answer, or rejects the credentials',
    'Try again; operators look for an `alert` in the log',
  ],
  adapter_checksum_mismatch: [
    'The stored bytes of the adapter are not the published ones',
    'Restore the version or publish it again; `lorikeet adapters verify NAME` names the file',
  ],
  engine_restarting: [
    'The engine process died, or a run took so long that it was ended',
    'Try again in a few seconds; operators see [troubleshooting](troubleshooting.md)',
  ],
  quarantined: [
    'The engine crashed twice with this adapter or request; it is refused for ten minutes',
    'Use another adapter; operators see `GET /v1/quarantine`',
  ],
  deadline_exceeded: [
    'The request was not answered within its [time limit](time-limits.md)',
    'Lower `max_tokens`, raise `x-request-timeout-ms`, or send fewer requests at a time',
  ],
  insufficient_storage: [
    'The disk of uploads or of the store is full, or the server cannot write the folder that the feature needs',
    'Delete files that you no longer need; operators free space, or mount a volume ([containers](containers.md))',
  ],
};

/** Returns the table in the order of the codes' statuses. */
export function errorTable(): string {
  const statusOf = (code: string) => new ServeError(code as ErrorCode, '').status;
  const byStatus = Object.entries(ERRORS).sort(([a], [b]) => statusOf(a) - statusOf(b));
  const rows = byStatus.map(([code, [cause, remedy]]) => {
    return `| ${statusOf(code)} | \`${code}\` | ${cause} | ${remedy} |\n`;
  });
  return `| status | \`code\` | cause | what to do |\n|---|---|---|---|\n${rows.join('')}`;
}
