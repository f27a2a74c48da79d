// The responses of APIs with typed events. A draft builds the response and reports its changes, so that its document and its
// events come from the same code.
import type { ServeError } from '../../common/errors.ts';
import type { TokenLogprob } from '../../contracts/generation.ts';
import type {
  BackgroundKeeper,
  Ending,
  GenerationPlan,
  ResponseHead,
  ResponseWriter,
  TokenCounts,
} from '../generation/generation-plan.ts';
import { toFrame } from '../wire/event-stream.ts';

/** A response while it is written. All methods report its changes. */
export interface ReportingDraft {
  /** Begins the response, when the engine has accepted it. */
  start(): void;
  /** Adds text of the completion, and the scores of its tokens if they are shown. */
  add(text: string, logprobs: readonly TokenLogprob[]): void;
  /** Ends the completion. */
  finish(ending: Ending): void;
  /** Returns the whole response. */
  end(counts: TokenCounts): object | Promise<object>;
  /** Ends a failed response. */
  fail(error: ServeError): void;
  /** Absent: the client waits for the response. */
  readonly background?: BackgroundKeeper | undefined;
}

/** Receives each change of a draft as an event. */
export type Report = (type: string, members: object) => void;

/** Returns the writer of responses with these drafts. */
export function draftWriter(
  create: (plan: GenerationPlan, head: ResponseHead, report: Report) => ReportingDraft,
): ResponseWriter {
  return {
    createDocument(plan, head) {
      const draft = create(plan, head, () => {});
      return {
        write(event) {
          if (event.type === 'token') draft.add(event.text, event.logprob ? [event.logprob] : []);
          if (event.type !== 'finished') return;
          draft.add(event.rest, []);
          draft.finish(event);
        },
        end: (counts) => draft.end(counts),
        background: draft.background,
      };
    },
    createEvents(plan, head, send) {
      const draft = create(plan, head, (type, members) => {
        send(toFrame(JSON.stringify({ type, ...members }), type));
      });
      return {
        open: () => draft.start(),
        add: (_, { text, logprobs }) => draft.add(text, logprobs),
        finish: (_, ending) => draft.finish(ending),
        async end(counts) {
          await draft.end(counts);
        },
        fail: (error) => draft.fail(error),
      };
    },
  };
}
