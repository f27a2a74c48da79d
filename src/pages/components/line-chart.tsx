// A line chart as a component.
import { useEffect, useRef } from 'preact/hooks';
import { Chart } from '../chart.js';

interface LineChartProps {
  readonly options: ConstructorParameters<typeof Chart>[1];
  readonly points: Parameters<Chart['show']>[0];
  /** For screen readers. */
  readonly summary: string;
}

/** A line chart. Its options are those of the first rendering. */
export function LineChart({ options, points, summary }: LineChartProps) {
  const parent = useRef<HTMLDivElement>(null);
  const chart = useRef<Chart>(null);
  useEffect(() => {
    chart.current = new Chart(parent.current!, options);
    return () => chart.current?.remove();
  }, []);
  useEffect(() => chart.current?.show(points, summary), [points, summary]);
  return <div ref={parent} />;
}
