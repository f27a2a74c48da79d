// Figures of this process: CPU, memory and how late its event loop is.
import { monitorEventLoopDelay } from 'node:perf_hooks';
import type { Metrics } from './metrics.ts';

const NANOSECONDS = 1e-9;

/** From now on `metrics` holds them, taken whenever it is read. */
export function watchProcess(metrics: Metrics): void {
  const lag = monitorEventLoopDelay({ resolution: 10 });
  lag.enable();
  metrics.set('startTime', {}, (Date.now() - process.uptime() * 1000) / 1000);
  metrics.onCollect(() => {
    const { user, system } = process.cpuUsage();
    const memory = process.memoryUsage();
    metrics.set('cpu', {}, (user + system) / 1e6);
    metrics.set('residentMemory', {}, memory.rss);
    metrics.set('heapUsed', {}, memory.heapUsed);
    metrics.set('externalMemory', {}, memory.external);
    metrics.set('loopLagP50', {}, lag.percentile(50) * NANOSECONDS);
    metrics.set('loopLagP99', {}, lag.percentile(99) * NANOSECONDS);
    metrics.set('loopLagMax', {}, lag.max * NANOSECONDS);
    lag.reset();
  });
}
