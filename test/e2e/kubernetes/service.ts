// A Service as kube-proxy makes it: each new connection goes to one of the endpoints that the API server knows of, and stays
// there. Rules follow the cluster at most once a second.
import net from 'node:net';
import { type KubeApi, type Listed, repeat } from './api.ts';
import { ProcessNode } from './node.ts';

const SYNC_MS = 1_000;

interface EndpointSlice {
  /** Null: none yet. */
  readonly ports: readonly { readonly port: number }[] | null;
  readonly endpoints:
    | readonly {
        readonly addresses: readonly string[];
        readonly conditions: {
          readonly ready?: boolean;
          readonly serving?: boolean;
          readonly terminating?: boolean;
        };
      }[]
    | null;
}

interface Target {
  readonly host: string;
  readonly port: number;
}

export interface Service {
  readonly url: string;
  /** How many connections each address was given. */
  readonly connections: ReadonlyMap<string, number>;
  /** How many addresses new connections may go to. */
  readonly size: number;
}

export async function startService(
  t: { after(fn: () => unknown): void },
  api: KubeApi,
  { namespace, name }: { namespace: string; name: string },
): Promise<Service> {
  const selector = encodeURIComponent(`kubernetes.io/service-name=${name}`);
  const path = `/apis/discovery.k8s.io/v1/namespaces/${namespace}/endpointslices?labelSelector=${selector}`;
  const connections = new Map<string, number>();
  let targets: readonly Target[] = [];
  let turn = 0;
  const server = net.createServer((client) => {
    const target = targets[turn++ % targets.length];
    if (!target) return void client.destroy();
    connections.set(target.host, (connections.get(target.host) ?? 0) + 1);
    const upstream = net.connect(target);
    for (const [one, other] of [
      [client, upstream],
      [upstream, client],
    ] as const) {
      one.pipe(other);
      one.on('error', () => other.resetAndDestroy());
      one.on('close', () => other.end());
    }
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.after(() => void server.close());
  repeat(t, { api, pauseMs: SYNC_MS }, async () => {
    targets = targetsOf((await api.get<Listed<EndpointSlice>>(path)).items);
  });
  const { port } = server.address() as net.AddressInfo;
  return {
    url: `http://127.0.0.1:${port}`,
    connections,
    get size() {
      return targets.length;
    },
  };
}

/** Those that are ready; if there is none, those that still serve while they terminate. */
function targetsOf(slices: readonly EndpointSlice[]): readonly Target[] {
  const all = slices.flatMap(({ ports, endpoints }) =>
    (endpoints ?? []).map(({ addresses, conditions }) => ({
      conditions,
      target: { host: ProcessNode.hostOf(addresses[0]!), port: ports![0]!.port },
    })),
  );
  const ready = all.filter(({ conditions }) => conditions.ready);
  const rest = all.filter(({ conditions }) => conditions.serving && conditions.terminating);
  return (ready.length > 0 ? ready : rest).map(({ target }) => target);
}
