// Sends dead letters back to their topics, once somebody has confirmed it, and keeps what became of them.
//
// In the flow: `pipeline.svelte` → **`redrive.svelte`** → `components/DeadLetters`, `components/RedriveConfirm`.

import { asProblem, type Api, type Problem } from "./api";
import type { RedriveReply } from "./api_types";
import type { Pipeline } from "./pipeline.svelte";

/** Which letters are meant: those at these places, or all that are open. */
export type Letters = readonly string[] | "all";

export class Redrive {
  /** Asked for, and not confirmed yet. */
  proposed = $state.raw<Letters | null>(null);
  /** Under way. It goes on if the page is left. */
  running = $state.raw<Letters | null>(null);
  seconds = $state(0);
  result = $state.raw<RedriveReply | null>(null);
  problem = $state.raw<Problem | null>(null);
  /** What `result` or `problem` is about. */
  last = $state.raw<Letters | null>(null);

  constructor(
    readonly api: Api,
    readonly pipeline: Pipeline,
  ) {}

  propose(letters: Letters): void {
    if (this.running === null) this.proposed = letters;
  }

  async run(letters: Letters): Promise<void> {
    if (this.running !== null) return;
    this.dismiss();
    this.proposed = null;
    this.running = letters;
    this.last = letters;
    this.seconds = 0;
    const timer = setInterval(() => (this.seconds += 1), 1_000);
    const { signal } = new AbortController();
    try {
      this.result = await this.api.redrive(letters, signal);
    } catch (error) {
      this.problem = asProblem(error);
    } finally {
      clearInterval(timer);
      this.running = null;
    }
    await this.pipeline.ask(signal);
  }

  dismiss(): void {
    this.result = null;
    this.problem = null;
  }
}
