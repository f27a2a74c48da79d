// How the endpoint picker of the Gateway API Inference Extension reads a model server's metrics, as a port of its
// scraper (kubernetes-sigs/gateway-api-inference-extension, pkg/epp/backend/metrics: promToPodMetrics,
// getLatestLoraMetric), and how its LoRA affinity scorer uses them (lora_affinity_scorer).
import { type ParsedFamily, parsePrometheusText } from './prometheus-parser.ts';

export interface PodMetrics {
  runningQueueSize: number;
  waitingQueueSize: number;
  kvCacheUsagePercent: number;
  maxActiveModels: number;
  activeModels: Set<string>;
  waitingModels: Set<string>;
}

export function emptyPod(): PodMetrics {
  return {
    runningQueueSize: 0,
    waitingQueueSize: 0,
    kvCacheUsagePercent: 0,
    maxActiveModels: 0,
    activeModels: new Set(),
    waitingModels: new Set(),
  };
}

/** `existing` is kept where the scrape says nothing else, as it is there. */
export function scrape(text: string, existing: PodMetrics): PodMetrics {
  const families = parsePrometheusText(text);
  const updated = { ...existing };
  updated.runningQueueSize = Math.trunc(gauge(families, 'vllm:num_requests_running'));
  updated.waitingQueueSize = Math.trunc(gauge(families, 'vllm:num_requests_waiting'));
  updated.kvCacheUsagePercent = gauge(families, 'vllm:kv_cache_usage_perc');
  const lora = latestLora(families.get('vllm:lora_requests_info'));
  if (!lora) return updated;
  const { max_lora, running_lora_adapters, waiting_lora_adapters } = lora;
  updated.activeModels = split(running_lora_adapters);
  updated.waitingModels = split(waiting_lora_adapters);
  if (max_lora !== undefined && max_lora !== '') {
    if (!/^[+-]?\d+$/.test(max_lora)) throw new Error(`strconv.Atoi: parsing "${max_lora}"`);
    updated.maxActiveModels = Number.parseInt(max_lora, 10);
  }
  return updated;
}

function gauge(families: Map<string, ParsedFamily>, name: string): number {
  const family = families.get(name);
  if (!family) throw new Error(`metric family "${name}" not found`);
  if (family.type !== 'gauge') throw new Error(`${name} is no gauge`);
  return family.samples[0]!.value;
}

/** The series with the largest value; those that name no adapter are passed over. */
function latestLora(family: ParsedFamily | undefined): Record<string, string> | undefined {
  if (!family) throw new Error('metric family "vllm:lora_requests_info" not found');
  let latest: Record<string, string> | undefined;
  let latestTs = 0;
  for (const { labels, value } of family.samples) {
    const running = labels['running_lora_adapters'] ?? '';
    const waiting = labels['waiting_lora_adapters'] ?? '';
    if (running === '' && waiting === '') continue;
    if (value > latestTs) {
      latestTs = value;
      latest = labels;
    }
  }
  return latest;
}

function split(list: string | undefined): Set<string> {
  return new Set(list === undefined || list === '' ? [] : list.split(','));
}

/** 1: the adapter runs there; 0.8: there is room for it; 0.6: it waits there; 0: neither. */
export function loraAffinity(model: string, pod: PodMetrics): number {
  if (pod.activeModels.has(model)) return 1;
  if (pod.activeModels.size + pod.waitingModels.size < pod.maxActiveModels) return 0.8;
  return pod.waitingModels.has(model) ? 0.6 : 0;
}
