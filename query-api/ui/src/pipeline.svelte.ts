// Asks how the pipeline is doing, every ten seconds while somebody can see the answer.
//
// In the flow: `api` → **`pipeline.svelte`** → `components/Freshness`, `components/PipelinePage`.

import { asProblem, type Api, type Problem } from "./api";
import type { PipelineReply } from "./api_types";
import { showDuration } from "./timestamp";

const EVERY_MS = 10_000;
/** Data older than this is worth a warning, and then an alarm. */
const LATE_S = 30;
const STUCK_S = 300;

export type Health = "good" | "late" | "bad" | "unknown";

export interface Freshness {
  health: Health;
  /** A few words for the header. */
  words: string;
}

export class Pipeline {
  reply = $state.raw<PipelineReply | null>(null);
  problem = $state.raw<Problem | null>(null);
  #asking = 0;
  #asked = 0;

  /** `mayAsk` says whether there would be an answer at all. */
  constructor(
    readonly api: Api,
    readonly mayAsk: () => boolean,
  ) {}

  /** Begins to ask; what is returned ends it. */
  watch(): () => void {
    const asked = new AbortController();
    const ask = (): void => void (document.visibilityState === "visible" && this.#asking === 0 && this.mayAsk() && this.ask(asked.signal));
    ask();
    const timer = setInterval(ask, EVERY_MS);
    document.addEventListener("visibilitychange", ask);
    return () => {
      asked.abort();
      clearInterval(timer);
      document.removeEventListener("visibilitychange", ask);
    };
  }

  async ask(signal: AbortSignal): Promise<void> {
    const turn = (this.#asked += 1);
    this.#asking += 1;
    try {
      const reply = await this.api.pipeline(signal);
      // The answer to an earlier question knows less.
      if (turn !== this.#asked) return;
      this.reply = reply;
      this.problem = null;
    } catch (error) {
      if (turn === this.#asked) this.problem = asProblem(error) ?? this.problem;
    } finally {
      this.#asking -= 1;
    }
  }

  get freshness(): Freshness {
    return this.problem || !this.reply ? { health: "unknown", words: this.problem ? "freshness unknown" : "…" } : freshnessOf(this.reply);
  }
}

export function freshnessOf(reply: PipelineReply): Freshness {
  const { sinks } = reply;
  if (sinks.length === 0) return { health: "unknown", words: "no sink known" };
  const reached = sinks.filter((sink) => sink.reachable);
  if (reached.length === 0) return { health: "bad", words: sinks.length === 1 ? "sink unreachable" : "sinks unreachable" };
  const held = reached.some((sink) => sink.holds.length > 0);
  const ages = reached.flatMap((sink) => (sink.freshness_seconds === null ? [] : [sink.freshness_seconds]));
  const age = ages.length > 0 ? Math.max(...ages) : null;
  const lag = reached.reduce((sum, sink) => sum + (sink.lag ?? 0), 0);
  const words = held ? "indexing held" : age === null ? (lag === 0 ? "up to date" : `${lag} behind`) : `fresh within ${showDuration(Math.max(1, Math.round(age)) * 1_000)}`;
  if (held || (age !== null && age > STUCK_S && lag > 0)) return { health: "bad", words };
  if (reached.length < sinks.length || (age !== null && age > LATE_S && lag > 0)) return { health: "late", words };
  return { health: "good", words: lag === 0 && age !== null && age > LATE_S ? "up to date" : words };
}
