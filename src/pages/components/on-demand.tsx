// Code that a page loads when it needs it first.
import { signal } from '@preact/signals';
import type { FunctionComponent } from 'preact';
import { useEffect } from 'preact/hooks';

const RETRY_MS = 3_000;

/** Makes a hook that returns what `load` loads; undefined before. Without the server it tries again. */
export function onDemand<T>(load: () => Promise<T>): () => T | undefined {
  const loaded = signal<{ readonly value: T }>();
  return () => {
    useEffect(() => {
      if (loaded.value) return;
      const ended = new AbortController();
      const attempt = () => {
        load().then(
          (value) => {
            loaded.value = { value };
          },
          () => {
            setTimeout(() => ended.signal.aborted || attempt(), RETRY_MS);
          },
        );
      };
      attempt();
      return () => ended.abort();
    }, []);
    return loaded.value?.value;
  };
}

/** Makes a component of one that is loaded when it is shown first. */
export function later<Props extends object>(
  load: () => Promise<FunctionComponent<Props>>,
): FunctionComponent<Props> {
  const useLoaded = onDemand(load);
  return (props) => {
    const Loaded = useLoaded();
    return Loaded ? <Loaded {...props} /> : null;
  };
}
