// A server's HTTP API, as the end-to-end tests and the benchmarks call it.

type PostOptions = Omit<RequestInit, 'headers'> & { headers?: Record<string, string> };

/** Sends a body as JSON. The options are fetch's. */
export function postJson(
  url: string,
  body: unknown,
  { headers, ...options }: PostOptions = {},
): Promise<Response> {
  return fetch(url, {
    method: 'POST',
    ...options,
    headers: { 'content-type': 'application/json', ...headers },
    body: JSON.stringify(body),
  });
}

/** Sends a body as JSON, which must be answered with 200. Returns the response's document. */
export async function ask<T>(url: string, body: unknown, options?: PostOptions): Promise<T> {
  return readOk<T>(await postJson(url, body, options));
}

/** Fetches a document, which must be answered with 200. The options are those of fetch. */
export async function fetchJson<T>(url: string, options?: RequestInit): Promise<T> {
  return readOk<T>(await fetch(url, options));
}

async function readOk<T>(response: Response): Promise<T> {
  const { url, status } = response;
  if (status !== 200) throw new Error(`${url}: ${status}: ${await response.text()}`);
  return (await response.json()) as T;
}

/** Sends a body as JSON and reads the response. Returns the status and the time it took. */
export async function timePost(
  url: string,
  body: unknown,
  options?: PostOptions,
): Promise<{ status: number; ms: number }> {
  const startMs = performance.now();
  const response = await postJson(url, body, options);
  await response.arrayBuffer();
  return { status: response.status, ms: performance.now() - startMs };
}

/** Joins the texts of a streamed completion. */
export function streamedText(body: string): string {
  const frames = body.split('\n\n').filter((frame) => frame.startsWith('data: {'));
  return frames.map((frame) => JSON.parse(frame.slice(6)).choices[0].text).join('');
}
