// A collector for tests: an HTTP server that takes OTLP/HTTP in protobuf, and decodes what is asserted.
// Field numbers: opentelemetry-proto, trace/v1/trace.proto, metrics/v1/metrics.proto and common/v1/common.proto.
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';

export interface ReceivedSpan {
  traceId: string;
  spanId: string;
  parentSpanId: string;
  name: string;
  /** 2 = server, 1 = internal. */
  kind: number;
  startNs: bigint;
  endNs: bigint;
  attributes: Record<string, unknown>;
  /** 0 = unset, 2 = error. */
  status: number;
}

interface ReceivedMetric {
  name: string;
  unit: string;
  kind: 'gauge' | 'sum' | 'histogram';
  isMonotonic: boolean;
  points: { attributes: Record<string, unknown>; value: number; bucketCounts: number[] }[];
}

export interface OtlpReceiver {
  readonly url: string;
  readonly spans: ReceivedSpan[];
  readonly metrics: ReceivedMetric[];
  readonly resources: Record<string, unknown>[];
  /** All bodies as they came, for what must not be in them. */
  readonly bodies: Buffer[];
  /** Headers of the last request. */
  headers: Record<string, unknown>;
  /** From now on it takes requests, and that is all. */
  stopAnswering(): void;
  /** Twice is once. */
  close(): Promise<void>;
}

export async function startOtlpReceiver(): Promise<OtlpReceiver> {
  const receiver = { spans: [], metrics: [], resources: [], bodies: [], headers: {} } as Omit<
    OtlpReceiver,
    'url' | 'close' | 'stopAnswering'
  >;
  let isSilent = false;
  const server = createServer(async (request, response) => {
    if (isSilent) return;
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk);
    const body = Buffer.concat(chunks);
    receiver.bodies.push(body);
    receiver.headers = request.headers;
    const isTrace = request.url === '/v1/traces';
    for (const group of list(fields(body), 1)) {
      receiver.resources.push(attributes(list(message(group, 1), 1)));
      for (const scope of list(group, 2)) {
        if (isTrace) receiver.spans.push(...list(scope, 2).map(toSpan));
        else receiver.metrics.push(...list(scope, 2).map(toMetric));
      }
    }
    response.writeHead(200, { 'content-type': 'application/x-protobuf' }).end();
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return Object.assign(receiver, {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    stopAnswering() {
      isSilent = true;
    },
    async close() {
      if (!server.listening) return;
      server.closeAllConnections();
      server.close();
      await once(server, 'close');
    },
  });
}

function toSpan(span: Fields): ReceivedSpan {
  return {
    traceId: bytes(span, 1).toString('hex'),
    spanId: bytes(span, 2).toString('hex'),
    parentSpanId: bytes(span, 4).toString('hex'),
    name: bytes(span, 5).toString(),
    kind: Number(span.get(6)?.[0] ?? 0),
    startNs: span.get(7)![0] as bigint,
    endNs: span.get(8)![0] as bigint,
    attributes: attributes(list(span, 9)),
    status: Number(message(span, 15).get(3)?.[0] ?? 0),
  };
}

const DATA = { 5: 'gauge', 7: 'sum', 9: 'histogram' } as const;

function toMetric(metric: Fields): ReceivedMetric {
  const field = ([5, 7, 9] as const).find((one) => metric.has(one))!;
  const data = message(metric, field);
  const kind = DATA[field];
  return {
    name: bytes(metric, 1).toString(),
    unit: bytes(metric, 3).toString(),
    kind,
    isMonotonic: data.get(3)?.[0] === 1n,
    points: list(data, 1).map((point) => ({
      attributes: attributes(list(point, kind === 'histogram' ? 9 : 7)),
      value: toDouble(point.get(kind === 'histogram' ? 5 : 4)?.[0]),
      bucketCounts: packedFixed64(point.get(6)),
    })),
  };
}

function packedFixed64(values: Value[] | undefined): number[] {
  return (values ?? []).flatMap((value) => {
    if (typeof value === 'bigint') return [Number(value)];
    return Array.from({ length: value.length / 8 }, (_, i) => Number(value.readBigUInt64LE(8 * i)));
  });
}

function attributes(pairs: readonly Fields[]): Record<string, unknown> {
  return Object.fromEntries(
    pairs.map((pair) => [bytes(pair, 1).toString(), any(message(pair, 2))]),
  );
}

function any(value: Fields): unknown {
  if (value.has(1)) return bytes(value, 1).toString();
  if (value.has(2)) return value.get(2)![0] === 1n;
  if (value.has(3)) return Number(value.get(3)![0]);
  if (value.has(4)) return toDouble(value.get(4)![0]);
  if (value.has(5)) return list(message(value, 5), 1).map(any);
  return undefined;
}

/** Bytes of a length-delimited field; varints and fixed widths as they are. */
type Value = Buffer | bigint;
type Fields = Map<number, Value[]>;

function fields(data: Buffer): Fields {
  const found: Fields = new Map();
  let at = 0;
  const varint = () => {
    let value = 0n;
    for (let shift = 0n; ; shift += 7n) {
      const byte = data[at++]!;
      value |= BigInt(byte & 0x7f) << shift;
      if (byte < 0x80) return value;
    }
  };
  const take = (length: number) => {
    at += length;
    return data.subarray(at - length, at);
  };
  const read: Record<number, () => Value> = {
    0: varint,
    1: () => take(8).readBigUInt64LE(),
    2: () => take(Number(varint())),
    5: () => BigInt(take(4).readUInt32LE()),
  };
  while (at < data.length) {
    const tag = Number(varint());
    const value = read[tag & 7]!();
    found.set(tag >> 3, [...(found.get(tag >> 3) ?? []), value]);
  }
  return found;
}

function list(of: Fields, field: number): Fields[] {
  return (of.get(field) ?? []).map((value) => fields(value as Buffer));
}

function message(of: Fields, field: number): Fields {
  return list(of, field)[0] ?? new Map();
}

function bytes(of: Fields, field: number): Buffer {
  return (of.get(field)?.[0] as Buffer | undefined) ?? Buffer.alloc(0);
}

function toDouble(bits: Value | undefined): number {
  if (bits === undefined) return 0;
  const buffer = Buffer.alloc(8);
  buffer.writeBigUInt64LE(bits as bigint);
  return buffer.readDoubleLE();
}
