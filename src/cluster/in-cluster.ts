// The cluster that this pod is in, as every pod finds it. Knows no calls.
import { readFile } from 'node:fs/promises';
import path from 'node:path';
import { ConfigError } from '../common/errors.ts';
import type { Cluster } from './api-client.ts';

/** Where Kubernetes mounts a service account. */
const ACCOUNT_DIR = '/var/run/secrets/kubernetes.io/serviceaccount';
/** By the cluster's own DNS, of which its certificate holds. */
const URL = 'https://kubernetes.default.svc';

/** @throws ConfigError where this is no pod with a service account */
export async function findCluster(dir: string = ACCOUNT_DIR): Promise<Cluster> {
  const read = (name: string) => readFile(path.join(dir, name), 'utf8');
  try {
    const [ca, namespace] = await Promise.all([read('ca.crt'), read('namespace'), read('token')]);
    return { url: URL, ca, namespace: namespace.trim(), readToken: () => read('token') };
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException;
    if (code !== 'ENOENT' && code !== 'EACCES') throw cause;
    const cure = 'it is for pods of a cluster, with their service account’s token mounted';
    throw new ConfigError([`LORIKEET_TRAIN_RUNNER: kubernetes: ${cure} (${dir})`]);
  }
}
